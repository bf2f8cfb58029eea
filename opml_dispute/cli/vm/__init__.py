"""`opml-dispute vm`: look into the machine that disputes end in."""

"""`opml-dispute vm`: run, inspect and prove steps of the fault proof VM."""

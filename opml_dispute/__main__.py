"""`python -m opml_dispute`: the same as `opml-dispute`."""

from opml_dispute.cli import main

main()

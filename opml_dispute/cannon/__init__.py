"""
The OP Stack's `cannon`, command for command, on this engine.

op-challenger starts a program called cannon to learn state hashes and proofs. `pattern` parses at which steps it wants
output, `server` talks to the program that answers pre-images, `files` reads and writes states, proofs and metadata, and
`run` is the loop between them. The command line is `cli/cannon.py`; what it promises: docs/op-stack.md.
"""

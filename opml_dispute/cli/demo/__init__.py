"""
The demo: two disputes on a fresh local chain, played by the same code as the command line.

`stage` is the chain with its parties, `stories` what happens on it, `view` how it looks: live in a terminal, or in
plain sentences. Nothing here decides a move or sends a transaction in a way of its own.
"""

"""
The demo: two disputes on a fresh local chain, played by the same code as the command line.

`stage` is the chain with its parties, `stories` plays the two disputes, `view` shows them: live in a terminal, or in
plain sentences. Moves are decided and transactions sent by the same functions as in the other commands.
"""

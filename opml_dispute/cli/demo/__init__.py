"""
The demo: disputes on a fresh local chain, played by the same code as the command line.

`stage` is the chain with its parties; `stories` plays two disputes about digits, and `view` shows them, live in a
terminal or in plain sentences; `language` plays one about a language model's answer. Moves are decided and transactions
sent by the same functions as in the other commands.
"""

"""
The local chain, and whole games played on it by one process.

`anvil` starts, finds and stops a local Anvil, `samples` makes what a game on it needs, `self_play` plays both sides
of one game, `campaign` plays many and checks what every finished game obeys.
"""

"""
The local chain, and whole games that one process plays on it.

`anvil` starts, finds and stops a local Anvil, `samples` registers the sample model, `self_play` plays both sides
of one game, `campaign` plays random games and checks the rules of every finished game.
"""

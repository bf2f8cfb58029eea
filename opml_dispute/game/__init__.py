"""
The rules of the dispute game as pure functions: no chain, no clock but the time passed in, no model and no machine.

`position` has the positions of claims, `depths` the depths of a model's game, `claim` the snapshot of a game, `clock`
the time and `bond` the stake of a move, `rules` the legal moves, and `resolve` the winner.
"""

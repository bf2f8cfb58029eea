"""
The rules of the dispute game, pure: no chain, no clock but the one passed in, no model and no machine.

`position` says where claims stand, `depths` how deep a model's game goes, `claim` what a game looks like at one
moment, `clock` and `bond` what a move costs, `rules` which moves are legal, `resolve` who wins.
"""

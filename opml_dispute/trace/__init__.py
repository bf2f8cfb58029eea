"""
Traces: the right value at any position of a game, computed when it is needed.

`provider` has the interfaces, `states` answers for the ML phase, `vm` for the FPVM phase, and `split` joins
the two in the context of a claim.
"""

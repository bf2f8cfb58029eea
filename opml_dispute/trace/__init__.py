"""
Traces: the right answer at any position of a game, computed when it is asked for.

`provider` says what an actor may ask, `states` answers for the ML phase, `vm` for the FPVM phase, and `split` joins
the two in the context of a claim.
"""

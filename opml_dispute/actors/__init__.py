"""
Who plays: pure functions from a game and a trace to actions.

`actions` are what an actor can do, `honest` decides what is right, `liars` are the same function over a faulty
trace, and `player` watches, decides and sends.
"""

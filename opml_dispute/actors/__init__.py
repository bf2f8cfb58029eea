"""
The players: pure functions from a game and a trace to actions.

`actions` has the actions of an actor, `honest` decides which are right, `liars` makes the faulty traces over which the
same function is a liar, and `player` reads a game, decides and sends.
"""

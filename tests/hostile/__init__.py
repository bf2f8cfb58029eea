"""
Hostile input for the engine: whatever it is given, it answers or refuses; it never crashes.

`campaign` says what a campaign is; `machines`, `files`, `witnesses` and `records` are the campaigns; `hunt` lists them,
runs them in processes of their own, notices a crash, and shrinks what caused it. `scripts/fuzz-engine` is the long run,
on an engine built with sanitizers.
"""

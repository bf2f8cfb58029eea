"""
A laboratory for dispute games: what happens to the rules, and to honest money, under conditions of the real world.

`scenario` says what is played (a TOML file), `trial` plays it once from a seed, `campaign` many times in parallel,
`report` shows what came of it. A trial is discrete events (SimPy) over the pure rules of `game` and the honest actor
itself: `chain` makes blocks, `referee` stands in the contract's place, `honest_operator` and `attackers` play,
`symbolic` gives every value that they claim. `bond_study` is the arithmetic of bonds, without any play.

Model and limits: docs/simulation.md. No module here imports `chain/`, the package's own way to a real chain.
"""

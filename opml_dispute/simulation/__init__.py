"""
A laboratory for dispute games: simulations of the rules, and of honest players' money, under realistic conditions.

`scenario` reads what is played (a TOML file), `trial` plays it once from a seed, `campaign` many times in parallel,
`report` shows the results. A trial is discrete events (SimPy) over the pure rules of `game` and the honest actor
itself: `chain` makes blocks, `referee` stands in the contract's place, `honest_operator` and `attackers` play,
`symbolic` gives the values of their claims. `bond_study` is the arithmetic of bonds, without games.

Model and limits: docs/simulation.md. No module here imports `chain/`, the package's own way to a real chain.
"""

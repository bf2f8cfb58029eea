"""
Unattended operation: one process that watches a deployment and does the work of its roles.

`config` reads agent.toml. A pass of `agent` reads the chain (`discovery`), compares its endpoints (`endpoints`),
has unknown results computed (`casework`, `second_opinion`), and acts within the operator's limits (`treasury`): it
plays games (`playing`) by deadline, then by importance, and serves requests (`serving`). `context` holds the objects
that these parts share. `memory` keeps results that are expensive to compute again and may be deleted at any time;
`metrics` and `log` report; `lease` keeps two agents with one key from acting at the same time.
"""

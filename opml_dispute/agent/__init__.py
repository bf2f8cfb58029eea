"""
Unattended operation: one process that watches a deployment and does what its roles owe.

`config` reads agent.toml. A pass of `agent` looks at the chain (`discovery`), compares its endpoints (`endpoints`),
computes what it does not know yet (`desk`, `second_opinion`), and acts within its means (`treasury`): it plays games
(`playing`) by deadline, then by what is at stake, and serves requests (`serving`). What these parts share is `context`.
`memory` keeps what is expensive to find again and may be deleted at any time; `metrics` and `log` tell people and
machines; `lease` keeps two agents with one key from acting at once.
"""

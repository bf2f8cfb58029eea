"""
Unattended operation: one process that watches a deployment and does the work of its roles.

`config` reads agent.toml. A pass of `agent` reads the chain (`discovery`, `open_requests`), compares its endpoints
(`endpoints`), fetches models and inputs (`request_fetcher`, `prefetching`), has results computed by workers
(`remote_cases`, `second_opinion`), and acts within the operator's limits (`treasury`): it plays games (`playing`) by
deadline, then by importance, settles games that are over (`settling`), and serves requests (`serving`). `context` holds
the objects that these parts share. `memory` keeps results that are expensive to compute again and may be deleted at any
time; `metrics` and `log` report; `lease` keeps two agents with one key from acting at the same time.

`monitor` is the read-only counterpart: it looks at the same deployment and reports. It and the pages of `explore`
compute in threads of their own process (`local_cases`).
"""

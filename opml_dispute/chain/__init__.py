"""
Talking to a chain.

`artifacts` loads the compiled contracts, `rpc` speaks JSON-RPC, `contracts` gives each contract typed reads and
transactions, `reverts` names what a contract refused, `keys` holds an account's key, `sender` signs and sends. `deploy`
deploys a whole system, `deployment` is the file of its addresses, and `system` connects to it. `games` and `requests`
read what a player needs, `amounts` writes wei and gas for people. An operator's actions are in `operator`.
"""

"""
Talking to a chain.

`artifacts` loads the compiled contracts, `rpc` speaks JSON-RPC, `contracts` gives each contract typed reads and
transactions, `reverts` names what a contract refused, `keys` holds an account's key, `sender` signs and sends. `deploy`
lays a whole system out, `deployment` is the file that says where it is, and `system` connects to it. `games` and
`requests` read what a player needs, `amounts` writes wei and gas for people. What an operator does with all this is in
`operator`.
"""

"""
The chain as the rest of the package sees it.

`compile` turns the Solidity sources into artifacts, `artifacts` loads them, `rpc` speaks JSON-RPC, `contracts`
gives each contract typed reads and transactions, `reverts` names what a contract refused, `sender` signs and sends,
`deploy` lays a whole system out, `devnet` keeps a local Anvil, `games` and `requests` read what a player needs,
`models` keeps the files behind registered models, and `operator` does whole moves of an operator with them.
"""

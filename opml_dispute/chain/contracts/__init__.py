"""
Each contract, typed: what can be asked, what can be sent, what its events say.

`contract` has what all share; the other modules are named after the folders of contracts/src.

A method makes a `Call` and sends nothing: `rpc.Rpc.read` reads it, `sender.Sender.send` sends it. So reads can be
gathered into batches, and a transaction can be simulated, shown or sent as the same object. ABIs come from
`artifacts`: a function that the contract does not have fails here, not on the chain.
"""

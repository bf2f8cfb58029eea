"""
Typed interfaces of the contracts: their reads, their transactions and their events.

`contract` has the base class; the other modules are named after the folders of contracts/src.

A method makes a `Call` and sends nothing: `rpc.Rpc.read` reads it, `sender.Sender.send` sends it. So reads can be
gathered into batches, and a transaction can be simulated, shown or sent as the same object. ABIs come from
`artifacts`: a function that the contract does not have fails here, not on the chain.
"""

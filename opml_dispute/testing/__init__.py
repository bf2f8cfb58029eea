"""
Equipment of the tests and campaigns: no command uses it.

`vectors` are recorded steps, `made_up_state` and `sequences` generate states and programs, `fuzz` holds two
implementations of the VM together on them, `evm_verifier` runs the verifier contract in an in-process EVM.
`fault_proxy` stands between a program and its Ethereum node and misbehaves as nodes do.
"""

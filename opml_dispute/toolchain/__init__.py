"""
The programs that build this project, and the builds.

`programs` finds or fetches Anvil, Forge, solc and Node.js, `native` builds the engine and the guest with the
compiler flags of `guest_flags`, `solidity` builds the contracts.
"""

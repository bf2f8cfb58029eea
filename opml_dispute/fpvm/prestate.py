"""
The state hash at which every VM trace of this release starts, the same for every model.

It is the state hash of the guest as loaded (`elf.absolute_prestate`), and the game contract holds it. The guest's
bytes depend on its sources and the pinned compiler alone, so a change here is a new release of the protocol:
`scripts/renew` writes it, tests/guest compares it with a guest built from scratch.
"""

from __future__ import annotations

from typing import Final

from opml_dispute.primitives import StateHash

ABSOLUTE_PRESTATE: Final = StateHash(bytes.fromhex("037e703c952db12c95f49a5422c6d7b4d85300e572a92028c171dded39fb507c"))
"""First byte 3: the VM has not exited."""

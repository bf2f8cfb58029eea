"""
The state hash at which every VM trace of this release starts, the same for every model.

It is the state hash of the guest as loaded (`elf.absolute_prestate`), and the game contract holds it. The guest's
bytes depend on its sources and the pinned compiler alone, so a change here is a new release of the protocol:
`scripts/renew` writes it, tests/guest compares it with a guest built from scratch.
"""

from __future__ import annotations

from typing import Final

from opml_dispute.primitives import StateHash

ABSOLUTE_PRESTATE: Final = StateHash(bytes.fromhex("03f77a38ee67f04ef329e48c36495d58ca2478cca29eed908f503ed9f7e42f0c"))
"""First byte 3: the VM has not exited."""

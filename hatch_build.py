"""The package's own build: native library, guest and contracts become part of every wheel."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NativeBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Fills opml_dispute/_build before hatchling collects the files."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called once for each wheel, editable ones included; an sdist carries sources only."""
        if self.target_name != "wheel":
            return
        sys.path.insert(0, str(Path(self.root)))
        from opml_dispute.toolchain.native import build_engine, build_guest
        from opml_dispute.toolchain.solidity import build_artifacts

        build_engine()
        build_guest()
        build_artifacts()
        # The wheel holds machine code for one kind of machine, and no Python version's ABI.
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{self._platform()}"

    @staticmethod
    def _platform() -> str:
        import platform

        return f"manylinux_2_17_{platform.machine()}"

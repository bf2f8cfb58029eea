"""
The contracts' interfaces as text, one entry a line: what clients encode, decode and hash.

`abi_text` is kept in contracts/snapshots/abi.txt. A type that the compiler checks only (`Claim` for `bytes32`) leaves
no trace in it; whatever changes a selector, a topic, a result or a name does. `scripts/renew snapshots` writes it anew.
"""

from __future__ import annotations

from typing import Any

from eth_utils.abi import collapse_if_tuple

from opml_dispute.chain.artifacts import load_artifact
from opml_dispute.toolchain.native import NATIVE
from opml_dispute.toolchain.solidity import ARTIFACTS_DIR

ABI_FILE = NATIVE.parents[1] / "contracts" / "snapshots" / "abi.txt"


def abi_text() -> str:
    """The interface of every compiled contract that can be deployed, in alphabetical order."""
    lines = []
    for file in sorted(ARTIFACTS_DIR.glob("*.json")):
        artifact = load_artifact(file.stem)
        if artifact.bytecode:
            lines += [artifact.name, *sorted(f"    {_entry(entry)}" for entry in artifact.abi)]
    return "\n".join(lines) + "\n"


def _entry(entry: dict[str, Any]) -> str:
    text = f"{entry['type']} {entry.get('name', '')}({_parameters(entry.get('inputs', []))})"
    if entry["type"] == "function":
        text += f" {entry['stateMutability']}"
    if outputs := _parameters(entry.get("outputs", [])):
        text += f" returns ({outputs})"
    return text


def _parameters(parameters: list[dict[str, Any]]) -> str:
    return ", ".join(
        " ".join(part for part in (_type(each), "indexed" if each.get("indexed") else "", each["name"]) if part)
        for each in parameters
    )


def _type(parameter: dict[str, Any]) -> str:
    """The canonical type; of a tuple with the names of its parts, which clients look its parts up by."""
    if not parameter["type"].startswith("tuple"):
        return str(collapse_if_tuple(parameter))
    return f"({_parameters(parameter['components'])}){parameter['type'].removeprefix('tuple')}"

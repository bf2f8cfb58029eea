"""
Different things have different types in the contracts, so that the compiler refuses one in the place of another.

`NAMED` says which type a name stands for. The sources are held to it name by name, and the compiler is asked what it
says about every two types of one width.
"""

from __future__ import annotations

import json
import re
import subprocess
from itertools import permutations
from pathlib import Path

import pytest

from opml_dispute.toolchain import programs
from opml_dispute.toolchain.solidity import CONTRACTS_DIR

SOURCES = sorted((CONTRACTS_DIR / "src").rglob("*.sol"))

NAMED: dict[str, set[str]] = {
    r"(root|leaf|post|pre|mover)?[cC]laim_?": {"Claim", "StoredClaim"},
    r"(starting|disputed|leaf|final|initial)Root_?": {"StateRoot"},
    r"(post|pre)State|absolutePrestate": {"StateHash"},
    r"(local)?Context": {"LocalContext"},
    r"requestId_?": {"RequestId"},
    r"modelId_?": {"ModelId"},
    r"modelRoot_?": {"ModelRoot"},
    r"inputRoot_?": {"InputRoot"},
    r"outputRoot_?": {"OutputRoot"},
    r"arenaRoot_?": {"ArenaRoot"},
    r"(createdAt|resolvedAt_?|requestedAt|postedAt|pausedUntil|retirementTimestamp|timestamp_?)": {
        *("Timestamp", "StoredTimestamp", "Timestamp256"),
    },
    r"(\w*[dD]uration_?|clockExtension|timeUsed|delay_?|\w+Delay(Seconds)?)": {"Duration", "Duration256"},
}
"""A declared name, as a pattern, and the types that it may have."""

WIDTHS = {
    "bytes32": {
        "dispute/Claim.sol": ["Claim"],
        "dispute/RequestId.sol": ["RequestId"],
        "dispute/StateRoot.sol": ["StateRoot"],
        "oracle/ModelId.sol": ["ModelId"],
        "oracle/SectionRoot.sol": ["ModelRoot", "HeaderRoot", "InputRoot", "OutputRoot", "ArenaRoot"],
        "vm/LocalContext.sol": ["LocalContext"],
        "vm/PreimageKey.sol": ["PreimageKey"],
        "vm/StateHash.sol": ["StateHash"],
    },
    "uint64": {"dispute/Time.sol": ["Timestamp", "Duration"]},
    "uint256": {"dispute/Time.sol": ["Timestamp256", "Duration256"]},
}
"""By what a type is made of: where it is, and its name."""


def declarations(text: str) -> list[tuple[str, str]]:
    """Type and name of everything that is declared with an elementary type or one of ours, comments left out."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.S)
    kinds = r"(?:bytes32|uint\d*|[A-Z]\w*)"
    words = r"(?:memory|storage|calldata|public|internal|private|immutable|constant|indexed)"
    return re.findall(rf"\b({kinds})\s+(?:{words}\s+)*([a-zA-Z_]\w*)\b(?=\s*[,;)=\]])", text)


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.stem)
def test_a_name_has_the_type_that_it_stands_for(file: Path) -> None:
    for kind, name in declarations(file.read_text()):
        if kind == "return":
            continue
        for pattern, kinds in NAMED.items():
            if re.fullmatch(pattern, name) and kind not in kinds and re.match(r"bytes32|uint", kind):
                pytest.fail(f"{file}: {kind} {name} should be one of {', '.join(sorted(kinds))}")


def test_the_search_finds_declarations() -> None:
    text = "function f(bytes32 claim, uint64 createdAt) returns (Claim rootClaim) { uint256 delay = 1; } // bytes32 id;"
    assert declarations(text) == [
        *(("bytes32", "claim"), ("uint64", "createdAt"), ("Claim", "rootClaim"), ("uint256", "delay")),
    ]


def test_the_compiler_refuses_each_type_in_the_place_of_another() -> None:
    """Both ways between any two types of one width, and between each and what it is made of."""
    sources = {
        str(file.relative_to(CONTRACTS_DIR)): {"content": file.read_text()}
        for places in WIDTHS.values()
        for file in (CONTRACTS_DIR / "src" / place for place in places)
    }
    mixed = ["pragma solidity 0.8.30;"]
    pairs = []
    for width, places in WIDTHS.items():
        for place, names in places.items():
            mixed += [
                f'import {{{name}}} from "contracts/../src/{place}";'.replace("contracts/../", "./") for name in names
            ]
        pairs += list(permutations([width, *(name for names in places.values() for name in names)], 2))
    mixed += [
        f"function mix{index}({one} value) pure returns ({other}) {{ return value; }}"
        for index, (one, other) in enumerate(pairs)
    ]
    sources["Mixed.sol"] = {"content": "\n".join(mixed)}
    request = {"language": "Solidity", "sources": sources, "settings": {"outputSelection": {}}}
    done = subprocess.run(
        [str(programs.solc()), "--standard-json"], input=json.dumps(request), capture_output=True, text=True, check=True
    )
    messages = [error["message"] for error in json.loads(done.stdout)["errors"] if error["severity"] == "error"]
    refused = {
        (found[1], found[2])
        for message in messages
        if (found := re.search(r"Return argument type (\w+) is not implicitly convertible .* (\w+)\.$", message))
    }
    assert refused == set(pairs)
    assert len(messages) == len(pairs)

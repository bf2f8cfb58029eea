"""
What op-challenger and op-dispute-mon asked and did, as facts that the tests replay.

Only what the programs said is kept, each call once, with the answers left out: answers are ours, and are checked
afresh. Of a call to a contract its name, selector and kind of block are kept, of a command line of cannon's the names
of the options and the kinds of their values, of a transaction the contract and the selector.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from lib.environment import ROOT
from lib.op_stack.stage import OpStage

RECORDED = ROOT / "tests" / "e2e" / "op_challenger.json"


def recorded(stage: OpStage) -> dict[str, Any]:
    """The facts of a run that went well."""
    names = _contract_names(stage)
    calls: set[tuple[str, str, str]] = set()
    methods: set[str] = set()
    for exchange in stage.taps["l1"].heard:
        methods.add(exchange.method)
        if exchange.method == "eth_call":
            call, block = exchange.params[0], exchange.params[1]
            data = call.get("input") or call.get("data")
            name = names.get(call["to"].lower(), "?")
            calls.add((name, data[2:10], "hash" if isinstance(block, dict) else str(block)))
    rollup = {(exchange.method, json.dumps(exchange.params)) for exchange in stage.taps["rollup"].heard}
    return {
        "version": "1.19.6",
        "methods": sorted(methods),
        "calls": [list(call) for call in sorted(calls)],
        "rollup": [[method, json.loads(params)] for method, params in sorted(rollup)],
        "transactions": _transactions(stage, names),
        "cannon": _command_lines(stage),
    }


def write(facts: Mapping[str, Any]) -> None:
    """Into the file that the tests read."""
    lines = []
    for key, value in facts.items():
        rows = (
            "[\n" + ",\n".join("  " + json.dumps(row) for row in value) + "\n ]"
            if isinstance(value, list)
            else json.dumps(value)
        )
        lines.append(f" {json.dumps(key)}: {rows}")
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _contract_names(stage: OpStage) -> dict[str, str]:
    names = {address.lower(): name for name, address in stage.system.deployment.addresses.items()}
    return names | {address.lower(): "game" for address in stage.games.values()}


def _transactions(stage: OpStage, names: Mapping[str, str]) -> list[list[str]]:
    """Contract and selector of every kind of transaction of op-challenger's that was mined and succeeded."""
    rpc = stage.anvil.rpc
    found = set()
    for exchange in stage.taps["l1"].heard:
        if exchange.method != "eth_sendRawTransaction" or "result" not in exchange.answer:
            continue
        digest = exchange.answer["result"]
        receipt = rpc.request("eth_getTransactionReceipt", digest)
        if receipt is None or int(receipt["status"], 16) != 1:
            continue
        transaction = rpc.request("eth_getTransactionByHash", digest)
        found.add((names.get(transaction["to"].lower(), "?"), transaction["input"][2:10]))
    return [list(one) for one in sorted(found)]


def _command_lines(stage: OpStage) -> list[list[str]]:
    """The command lines of cannon, with paths by their last parts and numbers and hashes as their kinds."""
    found = set()
    for line in stage.log("op-challenger"):
        if line["msg"] == "Generating trace":
            words = line["args"].split(", ")
            found.add(tuple(_kind(word, stage) for word in words))
    return [list(one) for one in sorted(found)]


def _kind(word: str, stage: OpStage) -> str:
    if re.fullmatch("0x[0-9a-f]{64}", word):
        return "HASH"
    if re.fullmatch("[=%][0-9]+", word):
        return word[0] + "N"
    if re.fullmatch("[0-9]+", word):
        return "N"
    if word.startswith("http"):
        return "URL"
    if word in {stage.opml_dispute, stage.opml_cannon}:
        return "PROGRAM"
    if "/" not in word or word.startswith("/dev/"):
        return word
    return re.sub("0x[0-9a-f]{64}/", "", "/".join(word.split("/")[-2:]))

"""
The facts about a model, as `model inspect` shows them: for people as tables, for scripts as one object.

`show_inspection` shows a compiled model, `show_obstacles` shows why a model cannot be compiled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from opml_dispute.cli.output import Output, ether, gas
from opml_dispute.errors import OpmlError
from opml_dispute.generation.facts import LanguageFacts
from opml_dispute.model.program import NodeInfo, TensorSpec
from opml_dispute.model.survey import Obstacle
from opml_dispute.operator.inspection import Inspection, Share, obstacles_by_operator
from opml_dispute.printable import one_line

_STEPS: Final = "VM steps, at most"


class ModelNotSupported(OpmlError):
    """A model that cannot be compiled, with all the reasons."""

    hint = "write the model without them; docs/operators.md lists what can be expressed"

    def __init__(self, name: str, obstacles: Mapping[str, Sequence[Obstacle]]) -> None:
        told = [
            f"{op_type or 'tensors'} ({len(found)} {'node' if op_type else 'tensor'}{'s' if len(found) > 1 else ''})"
            for op_type, found in obstacles.items()
        ]
        super().__init__(f"cannot compile {name}; the reasons: {', '.join(told)}")


def show_inspection(
    file: Path, inspection: Inspection, shown: int, output: Output, language: LanguageFacts | None = None
) -> None:
    """All facts; of the nodes the `shown` costliest; of a language model what `language` says, too."""
    _show_shares("operator", inspection.operators, output)
    _show_shares("kernel", inspection.kernels, output)
    if shown:
        _show_nodes(inspection.largest[:shown], output)
    lines = inspection_lines(inspection, language)
    output.show("\n".join(f"{name:<13}{one_line(text)}" for name, text in lines))
    output.fact(file=str(file), language=language and asdict(language), **_facts(inspection, shown))


def inspection_lines(inspection: Inspection, language: LanguageFacts | None = None) -> list[tuple[str, str]]:
    """The facts about a model as sentences, each with its name; of a language model what `language` says, too."""
    return [*(_language_lines(language) if language else ()), *_lines(inspection)]


def show_obstacles(obstacles: Sequence[Obstacle], output: Output) -> None:
    """Show every obstacle, by operator."""
    output.table(
        ("operator", "opset", "node or tensor", "why not"),
        [
            (op_type or "–", str(obstacle.opset or "–"), obstacle.name, obstacle.reason)
            for op_type, found in obstacles_by_operator(obstacles).items()
            for obstacle in found
        ],
    )


def _language_lines(language: LanguageFacts) -> list[tuple[str, str]]:
    encodings = [f"{name} {count / language.parameters:.1%}" for name, count in language.encodings.items()]
    width = "" if language.width is None else f" of {language.width:,} numbers"
    context = "unknown" if language.context is None else f"{language.context:,} positions"
    return [
        ("language", f"{language.label}: {language.architecture}, {language.parameters:,} parameters"),
        ("sizes", f"{language.layers} layers{width}, {language.vocabulary:,} tokens"),
        ("encodings", ", ".join(encodings)),
        (
            "context",
            f"{context}; here {language.prompt_tokens:,} of a prompt and {language.tokens:,} of an answer, "
            f"{'drawn as the request says' if language.sampled else 'always of the greatest logits'}",
        ),
        ("a token", f"{language.token_nodes:,} nodes; up to the first one {language.prompt_nodes:,}"),
    ]


def _lines(inspection: Inspection) -> list[tuple[str, str]]:
    program, dispute, run = inspection.program, inspection.dispute, inspection.run
    proposer, challenger = (ether(wei) for wei in dispute.bonds_wei)
    lines = [
        ("model root", f"0x{inspection.model_root.hex()}"),
        *(("input", _tensor(spec)) for spec in program.inputs),
        *(("output", _tensor(spec)) for spec in program.outputs),
        (
            "nodes",
            f"{program.node_count:,}, at most {max(program.node_steps):,} VM steps each (limit "
            f"2^{program.log2_steps}), {inspection.total_steps:,} in all",
        ),
        ("weights", f"{program.weights_bytes:,} bytes"),
        ("memory", f"{inspection.peak_live_bytes:,} bytes of tensors at once, at most, and the weights"),
    ]
    if run is not None:
        failed = f"; made-up input makes it fail with status {run.status}" if run.status else ""
        warm = f"{run.seconds * 1e3:,.2f} ms, the median of {run.warm_runs:,} warm runs"
        lines.append(("native run", f"{warm}; {run.cold_seconds * 1e3:,.2f} ms the first time; one thread{failed}"))
    return [
        *lines,
        ("depths", f"split depth {dispute.depths.split}, max depth {dispute.depths.max}"),
        ("dispute", f"{dispute.moves} moves and a step, about {gas(dispute.gas)} in all"),
        ("bonds", f"{proposer} on the proposer's side at the end, {challenger} on the challenger's"),
        *(("note", note) for note in program.notes),
    ]


def _facts(inspection: Inspection, shown: int) -> dict[str, Any]:
    program, dispute, run = inspection.program, inspection.dispute, inspection.run
    return {
        "model_root": inspection.model_root,
        "inputs": [_tensor(spec) for spec in program.inputs],
        "outputs": [_tensor(spec) for spec in program.outputs],
        "nodes": program.node_count,
        "log2_steps": program.log2_steps,
        "total_steps": inspection.total_steps,
        "operators": _share_facts(inspection.operators),
        "kernels": _share_facts(inspection.kernels),
        "largest": [_node_facts(index, node) for index, node in inspection.largest[:shown]],
        "weights_bytes": program.weights_bytes,
        "peak_live_bytes": inspection.peak_live_bytes,
        "native_seconds": None if run is None else run.seconds,
        "native_warm_runs": None if run is None else run.warm_runs,
        "native_cold_seconds": None if run is None else run.cold_seconds,
        "native_status": None if run is None else run.status,
        "split_depth": dispute.depths.split,
        "max_depth": dispute.depths.max,
        "moves": dispute.moves,
        "gas": dispute.gas,
        "proposer_bonds_wei": dispute.bonds_wei[0],
        "challenger_bonds_wei": dispute.bonds_wei[1],
        "notes": list(program.notes),
    }


def _share_facts(shares: Sequence[Share]) -> dict[str, dict[str, int]]:
    return {share.name: {"nodes": share.nodes, "steps": share.steps} for share in shares}


def _node_facts(index: int, node: NodeInfo) -> dict[str, Any]:
    return {
        "node": index,
        "op_type": node.op_type,
        "name": node.name,
        "kernel": node.kernel,
        "tile": node.tile,
        "tiles": node.tiles,
        "steps": node.steps,
    }


def _show_shares(what: str, shares: Sequence[Share], output: Output) -> None:
    rows = [(share.name, f"{share.nodes:,}", f"{share.steps:,}") for share in shares]
    output.table((what, "nodes", _STEPS), rows, right=("nodes", _STEPS))
    output.show("")


def _show_nodes(nodes: Sequence[tuple[int, NodeInfo]], output: Output) -> None:
    output.table(
        ("node", "operator", "name", "kernel", "tile", _STEPS),
        [
            (
                str(index),
                node.op_type,
                node.name,
                node.kernel,
                f"{node.tile + 1}/{node.tiles}" if node.tiles > 1 else "",
                f"{node.steps:,}",
            )
            for index, node in nodes
        ],
        right=(_STEPS,),
    )
    output.show("")


def _tensor(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.dtype.name.lower()}{list(spec.shape)}"

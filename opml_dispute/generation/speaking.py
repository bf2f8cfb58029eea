"""An answer while it is computed: token by token, each as soon as it is known."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from opml_dispute.engine.inference import Inference
from opml_dispute.generation.answer import PADDING
from opml_dispute.generation.program import ANSWER
from opml_dispute.model.program import Program


def tokens_of(inference: Inference, program: Program) -> Iterator[int]:
    """
    The answer's tokens up to its end token, that included. The inference is at a state in the middle until the last one
    was taken, and need not have gone on to S_n then. Ends early if the inference fails.
    """
    (spec,) = (spec for spec in program.outputs if spec.name == ANSWER)
    for number, node in enumerate(token_nodes(program)):
        inference.run_to(node + 1)
        if inference.current_status != 0:
            return
        (token,) = struct.unpack(">q", inference.read(spec.offset + 8 * number, 8))
        if token == PADDING:
            return
        yield token


def token_nodes(program: Program) -> list[int]:
    """For each token of the answer, the node that writes it."""
    (spec,) = (spec for spec in program.outputs if spec.name == ANSWER)
    nodes = dict.fromkeys(range(spec.shape[0]), 0)
    for node in range(program.node_count):
        (out,) = struct.unpack_from(">Q", program.records, 512 * node + 0x20)
        if spec.offset <= out < spec.offset + 8 * spec.shape[0]:
            nodes[(out - spec.offset) // 8] = node
    return list(nodes.values())

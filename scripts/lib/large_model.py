"""A made-up language model of any size, and the measured way from its file to a step that the contract executes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
from lib.figures import peak_bytes

from opml_dispute.engine.inference import Inference
from opml_dispute.generation.files import compile_language_model, read_language_model
from opml_dispute.generation.gguf_file import read_gguf
from opml_dispute.model import limits
from opml_dispute.model.files import Binding
from opml_dispute.models import LETTERS
from opml_dispute.operator.inspection import made_up_inputs
from opml_dispute.testing.evm_verifier import Verifier
from opml_dispute.trace.guest import node_start

GIGABYTE: Final = 1_000_000_000
WIDTH, HIDDEN, HEAD, KV_HEADS = 4096, 14336, 128, 8
"""Sizes of a layer: those of the llamas of eight billion parameters."""
BLOCK, BLOCK_BYTES = 32, 34
"""Elements and bytes of a block of Q8_0."""
NODES: Final = 60
"""The costliest of these first nodes, which multiplies with weights of the first layer, is run in the VM."""
PLACES: Final = 16
"""Steps of the last node's run that the contract executes."""


@dataclass(frozen=True)
class Measured:
    """One part of the way."""

    name: str
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    """The greatest resident memory while it ran."""


@dataclass
class Report:
    """All parts, and whether the engines agreed."""

    file_bytes: int
    weights_bytes: int
    parts: list[Measured] = field(default_factory=list)
    nodes: int = 0
    node: int = 0
    """The one that was run in the VM."""
    kernel: str = ""
    vm_steps: int = 0
    vm_agrees: bool = False
    steps_judged: int = 0
    gas_of_a_step: int = 0

    @property
    def holds(self) -> bool:
        """Whether the VM found the native state, and the contract every state of the VM."""
        return self.vm_agrees and self.steps_judged == PLACES

    @property
    def peak_bytes(self) -> int:
        return max(part.peak_bytes for part in self.parts)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"holds": self.holds, "peak_bytes": self.peak_bytes}

    def summary(self) -> str:
        agreed = "the same state" if self.vm_agrees else "ANOTHER STATE"
        return (
            f"{self.file_bytes:,} bytes in the file, {self.nodes:,} nodes; "
            f"at most {self.peak_bytes / GIGABYTE:.2f} GB resident\n"
            f"node {self.node} ({self.kernel}): {self.vm_steps:,} steps in the VM to {agreed}; {self.steps_judged} of "
            f"{PLACES} steps judged alike by the contract, at most {self.gas_of_a_step:,} gas each"
        )


def write_model(path: Path, size_bytes: int) -> None:
    """A llama of about `size_bytes`, with as many layers as that takes, one at least; the words are the sample's."""
    fields = read_gguf(LETTERS).fields
    vocabulary = fields["tokenizer.ggml.tokens"]
    layer = _layer(0)
    layer_bytes = sum(_bytes(shape) for _, shape in layer)
    layers = max(1, round(size_bytes / layer_bytes))
    tensors = [("token_embd.weight", (len(vocabulary), WIDTH)), ("output_norm.weight", (WIDTH,))]
    tensors += [tensor for number in range(layers) for tensor in _layer(number)]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Made up")
    writer.add_block_count(layers)
    writer.add_context_length(2048)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(WIDTH // HEAD)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(HEAD)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model(fields["tokenizer.ggml.model"])
    writer.add_tokenizer_pre(fields["tokenizer.ggml.pre"])
    writer.add_token_list(vocabulary)
    writer.add_token_types(fields["tokenizer.ggml.token_type"])
    writer.add_token_merges([])
    writer.add_eos_token_id(fields["tokenizer.ggml.eos_token_id"])
    writer.add_add_bos_token(False)
    for name, shape in tensors:
        if len(shape) == 1:
            writer.add_tensor_info(name, shape, np.dtype(np.float32), _bytes(shape))
        else:
            packed = (shape[0], shape[1] // BLOCK * BLOCK_BYTES)
            writer.add_tensor_info(name, packed, np.dtype(np.uint8), _bytes(shape), gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    rng = np.random.default_rng(0)
    for _, shape in tensors:
        writer.write_tensor_data(_made_up(shape, rng))
    writer.close()


def measure(file: Path, memory_bytes: int, tell: Callable[[Measured], None]) -> Report:
    """The way from the file to the contract, in this process; an inference may use `memory_bytes`."""
    report = Report(file.stat().st_size, 0)

    @contextmanager
    def part(name: str) -> Iterator[None]:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        began, worked = time.perf_counter(), time.process_time()
        yield
        passed = time.perf_counter() - began
        report.parts.append(Measured(name, passed, time.process_time() - worked, peak_bytes()))
        tell(report.parts[-1])

    os.environ.setdefault(limits.VARIABLE, f"constant_bytes={2 * report.file_bytes}")
    with part("compile"):
        model = read_language_model(file)
        program = compile_language_model(model, Binding(prompt_tokens=2, tokens=2), file.name)
        report.nodes, report.weights_bytes = program.node_count, program.weights_bytes
    with part("model root"):
        program.model_root  # noqa: B018  (computed when asked for)
    inference = Inference(program, made_up_inputs(program), memory_limit=memory_bytes, model_memory=memory_bytes)
    node = max(range(min(NODES, program.node_count)), key=lambda index: program.nodes[index].steps)
    report.node, report.kernel = node, program.nodes[node].kernel
    with part(f"run {node + 1} nodes, and hash"):
        inference.state_root(node)
        inference.state_root(node + 1)
    with part(f"run node {node} in the VM"):
        machine = node_start(inference, node)
        starts = machine.fork()
        while not machine.exited:
            machine.run(1 << 40)
        report.vm_steps, report.vm_agrees = machine.step, machine.exit_code == 0
    with part("execute steps by the contract"):
        verifier = Verifier(ml=True)
        for place in range(1, PLACES + 1):
            goal = report.vm_steps * place // (PLACES + 1)
            starts.run(goal - starts.step)
            witness = starts.step_witness()
            if witness.preimage is not None:  # the oracle's words are another road
                raise AssertionError(f"step {goal} reads a pre-image")
            verdict = verifier.step(witness.state_data, witness.proof)
            report.steps_judged += verdict.post == witness.post_hash
            report.gas_of_a_step = max(report.gas_of_a_step, verdict.execution_gas)
    return report


def _layer(number: int) -> list[tuple[str, tuple[int, ...]]]:
    at, kv = f"blk.{number}.", KV_HEADS * HEAD
    return [
        (at + "attn_norm.weight", (WIDTH,)),
        (at + "ffn_norm.weight", (WIDTH,)),
        (at + "attn_q.weight", (WIDTH, WIDTH)),
        (at + "attn_k.weight", (kv, WIDTH)),
        (at + "attn_v.weight", (kv, WIDTH)),
        (at + "attn_output.weight", (WIDTH, WIDTH)),
        (at + "ffn_gate.weight", (HIDDEN, WIDTH)),
        (at + "ffn_up.weight", (HIDDEN, WIDTH)),
        (at + "ffn_down.weight", (WIDTH, HIDDEN)),
    ]


def _bytes(shape: tuple[int, ...]) -> int:
    return 4 * shape[0] if len(shape) == 1 else shape[0] * (shape[1] // BLOCK) * BLOCK_BYTES


def _made_up(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Ones for a norm; for a matrix blocks of one scale and random integers."""
    if len(shape) == 1:
        return np.ones(shape, np.float32)
    rows, blocks = shape[0], shape[1] // BLOCK
    data = np.empty((rows, blocks, BLOCK_BYTES), np.uint8)
    data[:, :, :2] = np.array([0.02 / shape[1] ** 0.5], np.float16).view(np.uint8)
    data[:, :, 2:] = np.frombuffer(rng.bytes(rows * blocks * BLOCK), np.uint8).reshape(rows, blocks, BLOCK)
    return data.reshape(rows, -1)

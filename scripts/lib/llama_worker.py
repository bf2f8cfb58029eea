"""
One implementation of a language model in a process of its own: llama.cpp (by llama-cpp-python), or this project.

    python llama_worker.py llama.cpp|ours MODEL

Reads one JSON object a line and answers one: {"do": "scores", "texts": [[token]], "file": OUT.npz} writes the logits
behind every token of each text; {"do": "time", "prompt": [token], "tokens": N, "threads": T} answers the seconds, by
the clock and of the processor, of the prompt and of the N - 1 steps after it, and the tokens; "answer" in place of
"time" only answers, once. All say the process's peak memory in bytes. It imports the project only for the second
implementation, so that any interpreter that has llama-cpp-python runs the first.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

CONTEXT = 1024
"""Of llama.cpp, where a prompt and its answer do not take more."""
ROOMS = 32


def now() -> Any:
    """Seconds of the clock, and of the processor in all threads."""
    return np.array([time.perf_counter(), time.process_time()])


class LlamaCpp:
    """llama.cpp with its defaults."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.loaded: dict[tuple[int, bool, int], Any] = {}

    def _load(self, threads: int, all_logits: bool, positions: int = CONTEXT) -> Any:
        llama_cpp = importlib.import_module("llama_cpp")

        key = threads, all_logits, max(positions, CONTEXT)
        if key not in self.loaded:
            self.loaded.clear()
            self.loaded[key] = llama_cpp.Llama(
                self.model,
                n_ctx=key[2],
                n_threads=threads,
                n_threads_batch=threads,
                logits_all=all_logits,
                verbose=False,
            )
        return self.loaded[key]

    def scores(self, texts: list[list[int]]) -> list[Any]:
        llama, made = self._load(1, True), []
        for text in texts:
            llama.reset()
            llama.eval(text)
            made.append(np.array(llama.scores[: len(text)], np.float32))
        return made

    def _greatest(self, llama: Any) -> int:
        """The token of the greatest logit behind the last one."""
        logits = np.ctypeslib.as_array(llama._ctx.get_logits_ith(-1), shape=(llama.n_vocab(),))
        return int(logits.argmax())

    def time(self, prompt: list[int], tokens: int, threads: int) -> dict[str, Any]:
        llama = self._load(threads, False, len(prompt) + tokens)
        llama.reset()
        start = now()
        llama.eval(prompt)
        said = [self._greatest(llama)]
        middle = now()
        for _ in range(tokens - 1):
            llama.eval(said[-1:])
            said.append(self._greatest(llama))
        end = now()
        return {"prompt_s": (middle - start).tolist(), "steps_s": (end - middle).tolist(), "said": said}

    def answer(self, prompt: list[int], tokens: int, threads: int) -> dict[str, Any]:
        return {"said": self.time(prompt, tokens, threads)["said"]}


class Ours:
    """This project."""

    def __init__(self, model: str) -> None:
        from opml_dispute.generation.files import read_checkpoint

        self.checkpoint = read_checkpoint(Path(model))
        self.programs: dict[tuple[int, int], Any] = {}

    def scores(self, texts: list[list[int]]) -> list[Any]:
        from opml_dispute.engine.inference import Inference
        from opml_dispute.generation.scores import SCORES, compile_scores
        from opml_dispute.generation.talk import padded

        room = max(len(text) for text in texts)
        program, made = compile_scores(self.checkpoint, room), []
        for text in texts:
            outputs = Inference(program, {"prompt": padded(text, room)}).outputs()
            made.append(outputs[SCORES][room - len(text) :].copy())
        return made

    def time(self, prompt: list[int], tokens: int, threads: int) -> dict[str, Any]:
        said, first_s = self._run(prompt, 1, threads)
        said, all_s = self._run(prompt, tokens, threads)
        return {"prompt_s": first_s.tolist(), "steps_s": (all_s - first_s).tolist(), "said": said}

    def answer(self, prompt: list[int], tokens: int, threads: int) -> dict[str, Any]:
        return {"said": self._run(prompt, tokens, threads)[0]}

    def _run(self, prompt: list[int], tokens: int, threads: int) -> tuple[list[int], Any]:
        from opml_dispute.engine.inference import Inference
        from opml_dispute.generation.answer import AnswerShape
        from opml_dispute.generation.program import compile_answer
        from opml_dispute.generation.talk import padded, spoken

        # Prompts of about the same length share a program.
        room = -(-len(prompt) // ROOMS) * ROOMS
        key = room, tokens
        if key not in self.programs:
            self.programs[key] = compile_answer(self.checkpoint, AnswerShape(*key))
        program = self.programs[key]
        inference = Inference(program, {"prompt": padded(prompt, room)}, threads=threads)
        start = now()
        inference.run_to(program.node_count)
        seconds = now() - start
        return spoken(inference.outputs()["answer"].tolist()), seconds


class OursInFloats(Ours):
    """This project, with all weights made binary32: no row is rounded to int8."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        from dataclasses import replace

        from opml_dispute.generation.checkpoint import Weight

        floats = {
            name: Weight(name, "F32", weight.shape, weight.float32())
            for name, weight in self.checkpoint.weights.items()
        }
        self.checkpoint = replace(self.checkpoint, weights=floats)


class Implementation(Protocol):
    """What is asked of either."""

    def scores(self, texts: list[list[int]]) -> list[Any]: ...
    def time(self, prompt: list[int], tokens: int, threads: int) -> dict[str, Any]: ...
    def answer(self, prompt: list[int], tokens: int, threads: int) -> dict[str, Any]: ...


WORKERS: dict[str, Callable[[str], Implementation]] = {"llama.cpp": LlamaCpp, "ours": Ours, "floats": OursInFloats}


def main() -> None:
    worker = WORKERS[sys.argv[1]](sys.argv[2])
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["do"] == "scores":
            made = worker.scores(asked["texts"])
            np.savez(asked["file"], **{str(i): scores for i, scores in enumerate(made)})
            answer: dict[str, Any] = {}
        else:
            measured = worker.time if asked["do"] == "time" else worker.answer
            answer = measured(asked["prompt"], asked["tokens"], asked["threads"])
        answer["peak_bytes"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

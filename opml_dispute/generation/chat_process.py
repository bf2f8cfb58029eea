"""
A chat template at work, in a process of its own.

A template comes with a model's files and is an untrusted program. Jinja's sandbox keeps it from the machine, but not
from taking time or memory without end, so it runs within limits of both.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

MOST_CPU_S: Final = 3
"""Seconds of processor, with what Python needs to start."""
MOST_MEMORY_BYTES: Final = 1 << 30
MOST_CHARACTERS: Final = 1 << 20
"""Of a chat's text."""
_MOST_WAIT_S: Final = 120
"""A loaded machine may take longer than the seconds of processor."""


class TemplateFails(Exception):
    """What a template did wrong, in words."""


def rendered(template: str, messages: Sequence[Mapping[str, str]], names: Mapping[str, str]) -> str:
    """The text that a template makes of messages. Raises `TemplateFails`."""
    asked = json.dumps({"template": template, "messages": list(messages), "names": dict(names)})
    # -P: a module in the current folder must not stand in for one of Python's.
    command = [sys.executable, "-P", "-m", __name__]
    try:
        done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=_MOST_WAIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise TemplateFails(f"it takes more than {_MOST_WAIT_S} s") from None
    if done.returncode != 0:
        raise TemplateFails(
            f"it takes more than {MOST_CPU_S} s of processor or {MOST_MEMORY_BYTES >> 20} MiB of memory"
        )
    answer: dict[str, str] = json.loads(done.stdout)
    if "text" not in answer:
        raise TemplateFails(answer["error"])
    return answer["text"]


def _render(asked: Mapping[str, Any]) -> str:
    """With what templates of Hugging Face may expect, as transformers documents it."""
    import jinja2
    from jinja2 import nodes
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks what a model says, for training; here it changes nothing."""

        tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

        def parse(self, parser: jinja2.parser.Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    def to_json(value: Any, indent: int | None = None, ensure_ascii: bool = False, **options: Any) -> str:
        return json.dumps(value, indent=indent, ensure_ascii=ensure_ascii, **options)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", Generation]
    )
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now(UTC).strftime(form)
    environment.filters["tojson"] = to_json
    template = environment.from_string(asked["template"])
    text = template.render(messages=asked["messages"], add_generation_prompt=True, **asked["names"])
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"a text of {len(text):,} characters; expected {MOST_CHARACTERS:,} at most")
    return text


def main() -> None:
    """Answers the question on standard input by a line of JSON."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU_S, MOST_CPU_S))
    try:
        answer = {"text": _render(json.load(sys.stdin))}
    except Exception as error:  # a template can fail in any way
        answer = {"error": f"{type(error).__name__}: {str(error)[:200]}"}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()

"""The constants of native/program/steps.c as C: native/program/step_constants.h."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from opml_dispute.toolchain.native import NATIVE

HEADER = NATIVE / "program" / "step_constants.h"


def header(constants: Mapping[str, object]) -> str:
    """The text of the file, from `step_constants.derive`."""
    lines = [_HEAD]
    for name, value in constants.items():
        lines += _written(name, value)
    return "\n".join([*lines, "#endif", ""])


_HEAD = """\
/* Made by scripts/step-constants from the guest's machine code; tests/guest/test_step_constants.py compares the two.
 * How they are derived: tests/guest/step_constants.py. How they are used: steps.c. */
#ifndef OPML_STEP_CONSTANTS_H
#define OPML_STEP_CONSTANTS_H
#include "opcodes.h"
#include <stdint.h>
/* clang-format off */

struct row_steps { uint16_t row, element; };
struct block_steps { uint16_t block, step; };
struct window_steps { uint16_t window, channel, line, tap; };
struct reduce_steps { uint16_t output, row, chunk, element; };
"""


def _written(name: str, value: object) -> list[str]:
    if isinstance(value, int):
        return [f"#define {name} {value}u"]
    if isinstance(value, tuple):
        return [f"static const uint16_t {name}[] = {{{', '.join(map(str, value))}}};"]
    if name == "ROW":
        assert isinstance(value, dict)
        entries = [f"[OP_{opcode.name}] = {steps}" for opcode, steps in value.items()]
        return [f"static const uint16_t {name}[] = {{", *_wrapped(entries), "};"]
    if name.startswith(("UNARY", "BINARY")):
        assert isinstance(value, dict)
        prefix = "UN" if name.startswith("UNARY") else "BIN"
        entries = [f"[{prefix}_{function}] = {{{each.row}, {each.element}}}" for function, each in value.items()]
        return [f"static const struct row_steps {name}[] = {{", *_wrapped(entries), "};"]
    kind = {"CONTRACT": "block", "BLOCK_CONTRACT": "block", "REDUCE": "reduce", "ARGREDUCE": "reduce"}.get(
        name, "window"
    )
    if isinstance(value, list):
        return [f"static const struct {kind}_steps {name}[] = {_structs(value)};"]
    assert isinstance(value, dict)
    if name in ("CONTRACT", "CONV_EDGE"):
        size = len(next(iter(value.values())))
        rows = [f"    {_structs(each)}, /* {of} */" for of, each in value.items()]
        return [f"static const struct {kind}_steps {name}[][{size}] = {{", *rows, "};"]
    rows = [f"    {{{', '.join(map(str, each.values()))}}}, /* {of} */" for of, each in value.items()]
    return [f"static const struct {kind}_steps {name}[] = {{", *rows, "};"]


def _structs(value: Sequence[Mapping[str, int]]) -> str:
    return "{" + ", ".join("{" + ", ".join(map(str, each.values())) + "}" for each in value) + "}"


def _wrapped(entries: Sequence[str]) -> list[str]:
    lines, line = [], "   "
    for entry in entries:
        if len(line) + len(entry) + 2 > 118:
            lines.append(line)
            line = "   "
        line += f" {entry},"
    return [*lines, line]

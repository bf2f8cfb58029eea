"""System calls: docs/vm.md, "System calls" and ML.11."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tests.reference_vm.state import EMPTY, U32, U64, Fields, NoSuccessor, half, recomputed, splitmix64

if TYPE_CHECKING:
    from tests.reference_vm.step import Step

ZERO_CALLS: Final = frozenset(
    int(number)
    for number in re.findall(
        r"\d{4}",
        """5003 5004 5005 5008 5010 5011 5013 5014 5015 5016 5026 5027 5036 5061 5087 5095 5100 5102 5129 5196 5208
        5216 5217 5220 5225 5247 5257 5272 5285 5287 5297""",
    )
)


def result(step: Step, v0: int, a3: int = 0) -> None:
    step.set_r(2, v0)
    step.set_r(7, a3)
    step.advance()


def error(step: Step, number: int) -> None:
    result(step, number, U64)


def system_call(step: Step) -> None:
    number, a0, a1, a2 = (step.r(i) for i in (2, 4, 5, 6))
    s, t = step.s, step.t
    if number in ZERO_CALLS:
        result(step, 0)
    elif number == 5000:
        sys_read(step, a0, a1, a2)
    elif number == 5001:
        sys_write(step, a0, a1, a2)
    elif number == 5002:
        error(step, 9)
    elif number == 5009:
        size = (a1 + 4095) // 4096 * 4096
        if a0:
            result(step, a0)
        elif s["heap"] + size > 0x600000000000 or size > U64:
            error(step, 22)
        else:
            heap = s["heap"]
            s["heap"] = heap + size
            result(step, heap)
    elif number == 5012:
        result(step, 0x400000000000)
    elif number in (5023, 5034):
        result(step, 0)
        step.after = "preempt"
    elif number == 5038:
        result(step, 0)
    elif number == 5178:
        result(step, t["threadId"])
    elif number == 5055:
        clone(step, a0, a1)
    elif number == 5058:
        t["exited"], t["exitCode"] = 1, a0 % 256
        other = s.bytes_of("left" if s["traverseRight"] else "right")
        if step.inner == EMPTY and other == EMPTY:
            s["exited"], s["exitCode"] = 1, a0 % 256
    elif number == 5070:
        answers = {1: dict.fromkeys(range(7), 0), 3: {0: 0, 3: 0, 5: 0, 1: 1, 2: 1, 4: 1, 6: 1}}
        if a1 not in answers:
            error(step, 22)
        elif a0 not in answers[a1]:
            error(step, 9)
        else:
            result(step, answers[a1][a0])
    elif number == 5194:
        if a1 == 128 and half(step.read(1, a0 & ~3), a0) != a2 & U32:
            error(step, 11)
        elif a1 in (128, 129):
            result(step, 0)
            step.after = "preempt"
        else:
            error(step, 22)
    elif number == 5205:
        s["exited"], s["exitCode"] = 1, a0 % 256
    elif number == 5222:
        if a0 not in (0, 1):
            error(step, 22)
        else:
            now = s["step"]
            seconds, nanoseconds = (now // 10**7, now % 10**7 * 100) if a0 == 1 else (0, 0)
            step.read(1, a1)
            step.write(1, a1, seconds)
            step.read(2, (a1 & ~7) + 8 & U64)
            step.write(2, (a1 & ~7) + 8 & U64, nanoseconds)
            result(step, 0)
    elif number == 5284:
        result(step, 100) if a1 & 0x80 else error(step, 22)
    elif number == 5313:
        count = min(a1, 8 - a0 % 8)
        word = spliced(step.read(1, a0), a0 % 8, splitmix64(s["step"]).to_bytes(8, "big"), a0 % 8, count)
        step.write(1, a0, word)
        result(step, count)
    elif number in (7001, 7002) and step.ml:
        tensor(step, number, a0, a1, a2)
    else:
        raise NoSuccessor


def spliced(word: int, at: int, source: bytes, begin: int, count: int) -> int:
    """The word with `count` bytes of `source` from `begin` on at its byte `at`."""
    raw = bytearray(word.to_bytes(8, "big"))
    raw[at : at + count] = source[begin : begin + count]
    return int.from_bytes(raw, "big")


def sys_read(step: Step, fd: int, buf: int, count: int) -> None:
    s = step.s
    if fd == 0:
        result(step, 0)
    elif fd == 3:
        result(step, count)
    elif fd == 100:
        error(step, 11)
    elif fd != 5:
        error(step, 9)
    else:
        word = step.read(1, buf)
        part = step.oracle(s.bytes_of("preimageKey"), s["preimageOffset"])
        if part is None:
            raise NoSuccessor
        n = min(len(part), 8 - buf % 8, count)
        step.write(1, buf, spliced(word, buf % 8, part, 0, n))
        s["preimageOffset"] += n
        result(step, n)


def sys_write(step: Step, fd: int, buf: int, count: int) -> None:
    s = step.s
    if fd in (1, 2, 4):
        result(step, count)
    elif fd == 100:
        error(step, 11)
    elif fd != 6:
        error(step, 9)
    else:
        n = min(count, 8 - buf % 8)
        raw = step.read(1, buf).to_bytes(8, "big")[buf % 8 : buf % 8 + n]
        s.put("preimageKey", (s.bytes_of("preimageKey") + raw)[n:])
        s["preimageOffset"] = 0
        result(step, n)


def clone(step: Step, flags: int, stack: int) -> None:
    s, t = step.s, step.t
    if flags != 0x50F00:
        s["exited"], s["exitCode"] = 1, 2
        return
    child = Fields(bytearray(t.data), t.places)
    child["threadId"] = s["nextThreadId"]
    child["exitCode"] = child["exited"] = 0
    child["R29"], child["R2"], child["R7"] = stack, 0, 0
    child["pc"], child["nextPC"] = t["nextPC"], t["nextPC"] + 4
    step.child, step.after = bytes(child.data), "push"
    result(step, s["nextThreadId"])
    s["nextThreadId"] += 1


def tensor(step: Step, number: int, a0: int, a1: int, a2: int) -> None:
    if not 5 <= a1 <= 63 or a0 % (1 << a1) or a2 % 32 or a2 >> a1 == a0 >> a1:
        error(step, 22)
        return
    leaf, subtree = step.prove(1, a2, 5), step.prove(2, a0, a1)
    if number == 7001:
        step.s.put("memoryRoot", recomputed([leaf[0], *subtree[1:]], a0, a1))
        step.wrote(a0, a1)
    else:
        step.s.put("memoryRoot", recomputed([subtree[0], *leaf[1:]], a2, 5))
        step.wrote(a2, 5)
    result(step, 0)

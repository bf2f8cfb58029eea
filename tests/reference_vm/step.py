"""The frame of a step, memory, branches and integer instructions: docs/vm.md, "One step" to "Load linked"."""

from __future__ import annotations

from opml_dispute.engine.hashing import keccak256
from opml_dispute.engine.vm import PreimageSource
from opml_dispute.primitives import StateHash
from opml_dispute.testing.vectors import Vector, oracle_of
from tests.reference_vm import calls, floating
from tests.reference_vm.state import (
    BASE_THREAD,
    EMPTY,
    ML_THREAD,
    QUANTUM,
    STATE,
    U64,
    Fields,
    NoSuccessor,
    Proof,
    half,
    need,
    quotient,
    recomputed,
    signed,
    sx,
    with_half,
)
from tests.reference_vm.tables import IMMEDIATE, LOADS, SHIFTS, STORES, THREE


class Step:
    """One step, from its witness."""

    def __init__(self, state: bytes, proof: bytes, oracle: PreimageSource, *, ml: bool) -> None:
        self.s, self.ml, self.oracle = Fields.of(state, STATE), ml, oracle
        self.proof = Proof(proof, ml)
        self.t = Fields.of(bytes(430 if ml else 298), ML_THREAD if ml else BASE_THREAD)
        self.inner = b""
        self.shown: dict[int, list[bytes]] = {}
        self.after = ""
        self.child = b""

    # One step

    def run(self) -> StateHash:
        s = self.s
        need(s["exited"] <= 1)
        if not s["exited"]:
            need(self.active != EMPTY)
            s["step"] += 1
            thread, self.inner = self.proof.thread()
            self.t.data = bytearray(thread)
            need(keccak256(self.inner + keccak256(thread)) == self.active)
            if self.t["exited"]:
                self.leave(preempt=False)
            elif s["slice"] >= QUANTUM:
                self.leave(preempt=True)
            else:
                s["slice"] += 1
                self.instruction()
        need(self.active != EMPTY)
        status = 3 if not s["exited"] else min(s["exitCode"], 2)
        return StateHash(bytes([status]) + keccak256(bytes(s.data))[1:])

    @property
    def active(self) -> bytes:
        return self.s.bytes_of("right" if self.s["traverseRight"] else "left")

    def put_active(self, root: bytes) -> None:
        self.s.put("right" if self.s["traverseRight"] else "left", root)

    def leave(self, *, preempt: bool) -> None:
        """Pop the active thread; with `preempt` it goes onto the other stack."""
        s = self.s
        self.put_active(self.inner)
        if preempt:
            other = "left" if s["traverseRight"] else "right"
            s.put(other, keccak256(s.bytes_of(other) + keccak256(bytes(self.t.data))))
        if self.inner == EMPTY:
            s["traverseRight"] = 0 if s["traverseRight"] else 1
        s["slice"] = 0

    def instruction(self) -> None:
        t = self.t
        need(t["pc"] % 4 == 0)
        self.word = half(self.read(0, t["pc"]), t["pc"])
        self.execute()
        if self.after == "preempt":
            self.leave(preempt=True)
            return
        self.put_active(keccak256(self.inner + keccak256(bytes(t.data))))
        if self.after == "push":
            self.put_active(keccak256(self.active + keccak256(self.child)))
            self.s["slice"] = 0

    # Memory

    def read(self, number: int, address: int) -> int:
        """The word at `address` & ~7, shown by a memory proof."""
        leaf = self.prove(number, address, 5)[0]
        at = address & 24
        return int.from_bytes(leaf[at : at + 8], "big")

    def prove(self, number: int, address: int, log2_size: int) -> list[bytes]:
        words = self.proof.part(number, log2_size)
        need(recomputed(words, address, log2_size) == self.s.bytes_of("memoryRoot"))
        self.shown[number] = words
        return words

    def write(self, number: int, address: int, word: int) -> None:
        """Recomputes memoryRoot from the siblings shown, and applies the memory-write rule."""
        words, at = self.shown[number], address & 24
        leaf = words[0][:at] + (word & U64).to_bytes(8, "big") + words[0][at + 8 :]
        words[0] = leaf
        self.s.put("memoryRoot", recomputed(words, address, 5))
        self.wrote(address & ~7, 3)

    def wrote(self, address: int, log2_size: int) -> None:
        if self.s["llAddress"] >> log2_size == address >> log2_size:
            self.s["llStatus"] = self.s["llAddress"] = self.s["llOwner"] = 0

    # Registers

    def r(self, i: int) -> int:
        return self.t[f"R{i}"]

    def set_r(self, i: int, value: int) -> None:
        if i:
            self.t[f"R{i}"] = value & U64

    def f(self, i: int) -> int:
        return self.t[f"F{i}"]

    def advance(self) -> None:
        self.t["pc"], self.t["nextPC"] = self.t["nextPC"], self.t["nextPC"] + 4

    # Branches

    def no_delay_slot(self) -> None:
        need(self.t["nextPC"] == (self.t["pc"] + 4) & U64)

    def branch(self, taken: bool) -> None:
        self.no_delay_slot()
        pc, following = self.t["pc"], self.t["nextPC"]
        self.t["pc"] = following
        self.t["nextPC"] = pc + 4 + (self.simm << 2) if taken else following + 4

    def jump(self, target: int) -> None:
        self.no_delay_slot()
        self.t["pc"], self.t["nextPC"] = self.t["nextPC"], target

    # Instructions

    def execute(self) -> None:
        w = self.word
        self.opcode, self.rs, self.rt, self.rd = w >> 26, w >> 21 & 31, w >> 16 & 31, w >> 11 & 31
        self.shamt, self.funct, self.zimm = w >> 6 & 31, w & 63, w & 0xFFFF
        self.simm = signed(w, 16)
        if self.opcode == 0:
            self.special()
        elif self.opcode == 1:
            self.regimm()
        elif self.opcode in (2, 3):
            link, target = self.t["pc"] + 8, (self.t["nextPC"] & ~0x0FFFFFFF) | (w & 0x3FFFFFF) << 2
            self.jump(target)
            if self.opcode == 3:
                self.set_r(31, link)
        elif self.opcode in (4, 5, 6, 7):
            a, b = self.r(self.rs), self.r(self.rt)
            self.branch((a == b, a != b, signed(a) <= 0, signed(a) > 0)[self.opcode - 4])
        elif self.opcode == 0x1C:
            self.special2()
        elif self.opcode in IMMEDIATE:
            self.set_r(self.rt, IMMEDIATE[self.opcode](self.r(self.rs), self.simm, self.zimm))
            self.advance()
        elif self.opcode in LOADS:
            self.load()
        elif self.opcode in STORES:
            self.store()
        elif self.opcode in (0x30, 0x34, 0x38, 0x3C):
            self.linked()
        else:
            need(self.ml)
            floating.floating(self)

    def special(self) -> None:
        a, b, rd, t = self.r(self.rs), self.r(self.rt), self.rd, self.t
        if self.funct in SHIFTS:
            operation, bits, offset = SHIFTS[self.funct]
            count = self.shamt + offset if offset is not None else a % bits
            self.set_r(rd, operation(b, count))
        elif self.funct in THREE:
            self.set_r(rd, THREE[self.funct](a, b))
        elif self.funct in (8, 9):
            link = t["pc"] + 8
            self.jump(a)
            if self.funct == 9:
                self.set_r(rd, link)
            return
        elif self.funct in (0x0A, 0x0B):
            if (b == 0) == (self.funct == 0x0A):
                self.set_r(rd, a)
        elif self.funct == 0x0C:
            calls.system_call(self)
            return
        elif self.funct == 0x0F:
            self.set_r(rd, a)
        elif self.funct in (0x10, 0x12):
            self.set_r(rd, t["HI" if self.funct == 0x10 else "LO"])
        elif self.funct in (0x11, 0x13):
            t["HI" if self.funct == 0x11 else "LO"] = a
            self.set_r(rd, 0)
        elif 0x18 <= self.funct <= 0x1F:
            self.wide(a, b)
            self.set_r(rd, 0)
        elif self.funct == 1:
            need(self.ml)
            if floating.fcc(self) == self.word >> 16 & 1:
                self.set_r(rd, a)
        else:
            raise NoSuccessor
        self.advance()

    def wide(self, a: int, b: int) -> None:
        """Multiplication and division into HI and LO."""
        bits = 32 if self.funct in (0x18, 0x19, 0x1A, 0x1B) else 64
        unsigned = self.funct & 1
        x, y = (v & (1 << bits) - 1 if unsigned else signed(v, bits) for v in (a, b))
        if self.funct in (0x18, 0x19, 0x1C, 0x1D):
            low, high = x * y, (x * y) >> bits
        else:
            need(y != 0)
            low, high = quotient(x, y)
        self.t["LO"], self.t["HI"] = sx(bits, low), sx(bits, high)

    def special2(self) -> None:
        a = self.r(self.rs)
        if self.funct == 2:
            value = sx(32, a * self.r(self.rt))
        elif self.funct in (0x20, 0x21, 0x24, 0x25):
            bits = 32 if self.funct < 0x24 else 64
            a &= (1 << bits) - 1
            if self.funct & 1:
                a ^= (1 << bits) - 1
            value = bits - a.bit_length()
        else:
            raise NoSuccessor
        self.set_r(self.rd, value)
        self.advance()

    def regimm(self) -> None:
        a = signed(self.r(self.rs))
        link = self.t["pc"] + 8
        taken = {0x00: a < 0, 0x01: a >= 0, 0x10: a < 0, 0x11: a >= 0}.get(self.rt, False)
        self.branch(taken)
        if self.rt in (0x10, 0x11):
            self.set_r(31, link)

    # Loads and stores

    @property
    def va(self) -> int:
        return (self.r(self.rs) + self.simm) & U64

    def load(self) -> None:
        va = self.va
        word = self.read(1, va)
        self.set_r(self.rt, LOADS[self.opcode](word, half(word, va), self.r(self.rt), va % 8))
        self.advance()

    def store(self) -> None:
        va = self.va
        word = self.read(1, va)
        self.write(1, va, STORES[self.opcode](word, half(word, va), self.r(self.rt), va))
        self.advance()

    def linked(self) -> None:
        s, va = self.s, self.va
        wide = self.opcode in (0x34, 0x3C)
        tag = 2 if wide else 1
        if self.opcode in (0x30, 0x34):
            word = self.read(1, va)
            self.set_r(self.rt, word if wide else sx(32, half(word, va)))
            s["llStatus"], s["llAddress"], s["llOwner"] = tag, va, self.t["threadId"]
        elif (s["llStatus"], s["llOwner"], s["llAddress"]) == (tag, self.t["threadId"], va):
            s["llStatus"] = s["llAddress"] = s["llOwner"] = 0
            word, value = self.read(1, va), self.r(self.rt)
            self.write(1, va, value if wide else with_half(word, va, value))
            self.set_r(self.rt, 1)
        else:
            self.set_r(self.rt, 0)
        self.advance()


class ThirdStepper:
    """A `fpvm.vectors.Stepper`."""

    def step_vector(self, vector: Vector) -> StateHash | None:
        """The next state's hash, or None if there is no next state."""
        try:
            return Step(vector.state, vector.proof, oracle_of(vector), ml=vector.ml).run()
        except NoSuccessor:
            return None

// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {functOf, opcodeOf, rdOf, rsOf, rtOf, shamtOf, simmOf, sx, sx32} from "./Fields.sol";
import {Frame, IS_ML} from "./Frame.sol";
import {FloatInstructions} from "./FloatInstructions.sol";
import {LEAF, MemoryTree, Proof} from "./MemoryTree.sol";
import {Refusals} from "./Refusals.sol";
import {State} from "./State.sol";
import {Thread} from "./Thread.sol";

/// @title Instructions
/// @notice What each instruction does to thread and memory, but for system calls (Syscalls.sol) and floating point
/// (FloatInstructions.sol). All arithmetic wraps; fields that an instruction does not use are not read.
library Instructions {
    /// @notice Reads the instruction at the program counter, with memory proof 0.
    function fetch() internal pure returns (uint32 insn) {
        uint64 pc = Frame.u64(Thread.PC);
        if (pc & 3 != 0) {
            Refusals.programCounter(pc);
        }
        return uint32(halfOf(MemoryTree.readWord(pc), pc));
    }

    /// @notice Runs any instruction but a system call.
    function execute(uint32 insn) internal pure {
        uint256 opcode = opcodeOf(insn);
        if (opcode == 0x00) return special(insn);
        if (opcode < 0x08) return branch(insn, opcode);
        if (opcode < 0x10 || opcode == 0x18 || opcode == 0x19) return immediate(insn, opcode);
        if (opcode >= 0x20) {
            if (opcode < 0x28 || opcode == 0x37) return load(insn, opcode);
            if (opcode < 0x2F || opcode == 0x3F) return store(insn, opcode);
            if (opcode == 0x30 || opcode == 0x34) return loadLinked(insn, opcode);
            if (opcode == 0x38 || opcode == 0x3C) return storeConditional(insn, opcode);
        } else {
            if (opcode == 0x1C) return special2(insn);
            if (opcode == 0x1A || opcode == 0x1B) return load(insn, opcode);
        }
        if (Frame.word(IS_ML) != 0) return FloatInstructions.execute(insn, opcode);
        Refusals.instruction(insn);
    }

    /// @notice Opcode 00: shifts, jumps, moves, HI and LO, register arithmetic.
    function special(uint32 insn) internal pure {
        unchecked {
            uint256 funct = functOf(insn);
            uint64 s = Thread.reg(rsOf(insn));
            uint64 t = Thread.reg(rtOf(insn));
            uint64 d;
            if (funct >= 0x20) {
                d = funct < 0x38 ? arithmetic(insn, funct, s, t) : shift(insn, funct, t, uint64(shamtOf(insn)));
            } else if (funct >= 0x18) {
                multiplyDivide(funct, s, t); // d = 0: these write 0 to the register of an (unusual) rd field
            } else if (funct < 0x04) {
                if (funct == 0x01 && Frame.word(IS_ML) != 0) {
                    if (FloatInstructions.isCondition(insn)) Thread.setReg(rdOf(insn), s); // movf, movt
                    return Thread.advance();
                }
                d = shift(insn, funct, t, uint64(shamtOf(insn)));
            } else if (funct < 0x08 || funct >= 0x14) {
                d = shift(insn, funct, t, s);
            } else if (funct == 0x08 || funct == 0x09) {
                uint64 pc = requireNoDelaySlot(true);
                if (funct == 0x09) Thread.setReg(rdOf(insn), pc + 8); // jalr
                return Thread.jump(s); // jr
            } else if (funct == 0x0A || funct == 0x0B) {
                if ((t == 0) == (funct == 0x0A)) Thread.setReg(rdOf(insn), s); // movz, movn
                return Thread.advance();
            } else if (funct == 0x0F) {
                d = s; // sync: with an rd field it moves
            } else if (funct == 0x10) {
                d = Frame.u64(Thread.HI); // mfhi
            } else if (funct == 0x11) {
                Frame.setU64(Thread.HI, s); // mthi; d = 0
            } else if (funct == 0x12) {
                d = Frame.u64(Thread.LO); // mflo
            } else if (funct == 0x13) {
                Frame.setU64(Thread.LO, s); // mtlo; d = 0
            } else {
                Refusals.instruction(insn);
            }
            Thread.setReg(rdOf(insn), d);
            Thread.advance();
        }
    }

    /// @notice Shifts of `t`: 32 bits by `amount` mod 32, 64 bits by `amount` mod 64, or by `amount` mod 32, plus 32.
    function shift(uint32 insn, uint256 funct, uint64 t, uint64 amount) internal pure returns (uint64) {
        unchecked {
            if (funct < 0x08) {
                amount &= 31;
                if (funct == 0x00 || funct == 0x04) return sx32(t << amount); // sll, sllv
                if (funct == 0x02 || funct == 0x06) return sx32((t & 0xFFFFFFFF) >> amount); // srl, srlv
                if (funct == 0x03 || funct == 0x07) return uint64(int64(sx32(t)) >> amount); // sra, srav
            } else {
                amount = funct < 0x3C ? amount & 63 : amount + 32;
                if (funct == 0x14 || funct == 0x38 || funct == 0x3C) return t << amount; // dsllv, dsll, dsll32
                if (funct == 0x16 || funct == 0x3A || funct == 0x3E) return t >> amount; // dsrlv, dsrl, dsrl32
                if (funct == 0x17 || funct == 0x3B || funct == 0x3F) return uint64(int64(t) >> amount); // dsrav, dsra, dsra32
            }
            Refusals.instruction(insn);
        }
    }

    /// @notice functs 20 to 2F.
    function arithmetic(uint32 insn, uint256 funct, uint64 s, uint64 t) internal pure returns (uint64) {
        unchecked {
            if (funct < 0x24) {
                return sx32(funct < 0x22 ? s + t : s - t); // add, addu, sub, subu
            } else if (funct < 0x28) {
                if (funct == 0x24) return s & t; // and
                if (funct == 0x25) return s | t; // or
                if (funct == 0x26) return s ^ t; // xor
                return ~(s | t); // nor
            } else if (funct < 0x30) {
                if (funct == 0x2A) return int64(s) < int64(t) ? 1 : 0; // slt
                if (funct == 0x2B) return s < t ? 1 : 0; // sltu
                if (funct == 0x2C || funct == 0x2D) return s + t; // dadd, daddu
                if (funct == 0x2E || funct == 0x2F) return s - t; // dsub, dsubu
            }
            Refusals.instruction(insn);
        }
    }

    /// @notice functs 18 to 1F: into HI and LO. Signed division truncates; the remainder has the dividend's sign.
    function multiplyDivide(uint256 funct, uint64 s, uint64 t) internal pure {
        unchecked {
            if (funct < 0x1C) {
                // 32 bits wide: only the low halves count, and each half of the result is sign-extended.
                bool isSigned = funct & 1 == 0;
                s = isSigned ? sx32(s) : s & 0xFFFFFFFF;
                t = isSigned ? sx32(t) : t & 0xFFFFFFFF;
                if (funct < 0x1A) {
                    uint64 product = s * t; // mult, multu
                    setHiLo(sx32(product >> 32), sx32(product));
                } else {
                    requireDivisor(t);
                    if (isSigned) setHiLo(sx32(uint64(int64(s) % int64(t))), sx32(uint64(int64(s) / int64(t)))); // div
                    else setHiLo(sx32(s % t), sx32(s / t)); // divu
                }
            } else if (funct == 0x1C) {
                uint256 product = uint256(int256(int64(s)) * int256(int64(t))); // dmult
                setHiLo(uint64(product >> 64), uint64(product));
            } else if (funct == 0x1D) {
                uint256 product = uint256(s) * t; // dmultu
                setHiLo(uint64(product >> 64), uint64(product));
            } else {
                requireDivisor(t);
                // On 256 bits, as -2^63 / -1 does not fit into 64.
                if (funct == 0x1E) setHiLo(uint64(int64(s) % int64(t)), uint64(uint256(int256(int64(s)) / int64(t)))); // ddiv
                else setHiLo(s % t, s / t); // ddivu
            }
        }
    }

    /// @notice Opcode 1C: mul and the counts of leading bits.
    function special2(uint32 insn) internal pure {
        unchecked {
            uint256 funct = functOf(insn);
            uint64 s = Thread.reg(rsOf(insn));
            uint64 d;
            if (funct == 0x02) d = sx32(s * Thread.reg(rtOf(insn))); // mul
            else if (funct == 0x20) d = leadingZeros(s << 32, 32); // clz
            else if (funct == 0x21) d = leadingZeros(~s << 32, 32); // clo
            else if (funct == 0x24) d = leadingZeros(s, 64); // dclz
            else if (funct == 0x25) d = leadingZeros(~s, 64); // dclo
            else Refusals.instruction(insn);
            Thread.setReg(rdOf(insn), d);
            Thread.advance();
        }
    }

    /// @notice Opcodes 08 to 0F, 18 and 19.
    function immediate(uint32 insn, uint256 opcode) internal pure {
        unchecked {
            uint64 s = Thread.reg(rsOf(insn));
            uint64 simm = simmOf(insn);
            uint64 zimm = insn & 0xFFFF;
            uint64 t;
            if (opcode < 0x0A) t = sx32(s + simm); // addi, addiu
            else if (opcode == 0x0A) t = int64(s) < int64(simm) ? 1 : 0; // slti
            else if (opcode == 0x0B) t = s < simm ? 1 : 0; // sltiu
            else if (opcode == 0x0C) t = s & zimm; // andi
            else if (opcode == 0x0D) t = s | zimm; // ori
            else if (opcode == 0x0E) t = s ^ zimm; // xori
            else if (opcode == 0x0F) t = sx32(zimm << 16); // lui
            else t = s + simm; // daddi, daddiu
            Thread.setReg(rtOf(insn), t);
            Thread.advance();
        }
    }

    /// @notice Opcodes 01 to 07: branches and jumps. The delay slot runs in every case.
    function branch(uint32 insn, uint256 opcode) internal pure {
        unchecked {
            uint64 pc = requireNoDelaySlot(opcode == 0x02 || opcode == 0x03);
            uint64 next = Frame.u64(Thread.NEXT_PC);
            if (opcode == 0x02 || opcode == 0x03) {
                if (opcode == 0x03) Thread.setReg(31, pc + 8); // jal
                return Thread.jump((next & 0xFFFFFFFFF0000000) | (uint64(insn & 0x03FFFFFF) << 2)); // j
            }
            int64 s = int64(Thread.reg(rsOf(insn)));
            uint256 rt = rtOf(insn);
            bool taken;
            if (opcode == 0x01) {
                // Unknown sub-codes are branches that are never taken.
                if (rt & 15 < 2) taken = (s < 0) == (rt & 1 == 0); // bltz, bgez, bltzal, bgezal
                if (rt == 0x10 || rt == 0x11) Thread.setReg(31, pc + 8); // taken or not
            } else if (opcode < 0x06) {
                taken = (s == int64(Thread.reg(rt))) == (opcode == 0x04); // beq, bne
            } else {
                taken = (s <= 0) == (opcode == 0x06); // blez, bgtz
            }
            Thread.jump(taken ? pc + 4 + (simmOf(insn) << 2) : next + 4);
        }
    }

    /// @notice Loads: the naturally aligned unit that contains the address, so none ever traps.
    function load(uint32 insn, uint256 opcode) internal pure {
        uint64 va = address_(insn);
        uint64 word = MemoryTree.readWord(va);
        Thread.setReg(rtOf(insn), loaded(opcode, va, word, Thread.reg(rtOf(insn))));
        Thread.advance();
    }

    /// @notice What a load makes of the 64-bit `word` around `va`, and of the destination's old value `t`.
    function loaded(uint256 opcode, uint64 va, uint64 word, uint64 t) internal pure returns (uint64) {
        unchecked {
            uint64 k4 = 8 * (va & 3);
            uint64 k8 = 8 * (va & 7);
            uint64 half = halfOf(word, va);
            if (opcode == 0x23) return sx32(half); // lw
            if (opcode == 0x37) return word; // ld
            if (opcode == 0x20) return sx(0, word >> (56 - k8)); // lb
            if (opcode == 0x24) return (word >> (56 - k8)) & 0xFF; // lbu
            if (opcode == 0x21) return sx(1, word >> (48 - (k8 & 48))); // lh
            if (opcode == 0x25) return (word >> (48 - (k8 & 48))) & 0xFFFF; // lhu
            if (opcode == 0x27) return half; // lwu
            if (opcode == 0x22) return sx32((half << k4) | (t & (~uint64(0) >> (64 - k4)))); // lwl
            if (opcode == 0x26) {
                // lwr: keeps the register's upper half unless it fills the lower one
                uint64 mask = uint64(0xFFFFFFFF) >> (24 - k4);
                uint64 low = (t & 0xFFFFFFFF & ~mask) | (half >> (24 - k4));
                return k4 == 24 ? sx32(low) : (t & 0xFFFFFFFF00000000) | low;
            }
            if (opcode == 0x1A) return (word << k8) | (t & (~uint64(0) >> (64 - k8))); // ldl
            return (word >> (56 - k8)) | (t & ~(~uint64(0) >> (56 - k8))); // ldr
        }
    }

    /// @notice Stores, and what every write does to a reservation.
    function store(uint32 insn, uint256 opcode) internal pure {
        uint64 va = address_(insn);
        Proof proof = MemoryTree.next(LEAF);
        uint64 word = MemoryTree.wordOf(proof.node(), va); // ASSUMES: verified by `writeWord`
        writeWord(proof, va, stored(opcode, va, word, Thread.reg(rtOf(insn))));
        Thread.advance();
    }

    /// @notice What a store of `t` makes of the 64-bit `word` around `va`.
    function stored(uint256 opcode, uint64 va, uint64 word, uint64 t) internal pure returns (uint64) {
        unchecked {
            uint64 k4 = 8 * (va & 3);
            uint64 k8 = 8 * (va & 7);
            if (opcode == 0x2B) return withHalf(word, va, t); // sw
            if (opcode == 0x3F) return t; // sd
            if (opcode == 0x28) return merged(word, t << (56 - k8), uint64(0xFF) << (56 - k8)); // sb
            if (opcode == 0x29) return merged(word, t << (48 - (k8 & 48)), uint64(0xFFFF) << (48 - (k8 & 48))); // sh
            uint64 half = halfOf(word, va);
            if (opcode == 0x2A) {
                return withHalf(word, va, merged(half, (t & 0xFFFFFFFF) >> k4, uint64(0xFFFFFFFF) >> k4)); // swl
            }
            if (opcode == 0x2E) {
                return withHalf(word, va, merged(half, t << (24 - k4), uint64(0xFFFFFFFF) << (24 - k4))); // swr
            }
            if (opcode == 0x2C) return merged(word, t >> k8, ~uint64(0) >> k8); // sdl
            return merged(word, t << (56 - k8), ~uint64(0) << (56 - k8)); // sdr
        }
    }

    /// @notice ll and lld: a load that also reserves the address, exactly as computed.
    function loadLinked(uint32 insn, uint256 opcode) internal pure {
        uint64 va = address_(insn);
        uint64 word = MemoryTree.readWord(va);
        Frame.setU8(State.LL_STATUS, opcode == 0x30 ? 1 : 2);
        Frame.setU64(State.LL_ADDRESS, va);
        Frame.setU64(State.LL_OWNER, Frame.u64(Thread.ID));
        Thread.setReg(rtOf(insn), opcode == 0x30 ? sx32(halfOf(word, va)) : word);
        Thread.advance();
    }

    /// @notice sc and scd: a store that happens only under the thread's own, matching reservation.
    function storeConditional(uint32 insn, uint256 opcode) internal pure {
        uint64 va = address_(insn);
        uint256 rt = rtOf(insn);
        bool isReserved = Frame.u8(State.LL_STATUS) == (opcode == 0x38 ? 1 : 2) && Frame.u64(State.LL_ADDRESS) == va
            && Frame.u64(State.LL_OWNER) == Frame.u64(Thread.ID);
        if (isReserved) {
            Proof proof = MemoryTree.next(LEAF);
            uint64 word = MemoryTree.wordOf(proof.node(), va); // ASSUMES: verified by `writeWord`
            uint64 t = Thread.reg(rt);
            writeWord(proof, va, opcode == 0x38 ? withHalf(word, va, t) : t); // clears the reservation, as it is here
        }
        Thread.setReg(rt, isReserved ? 1 : 0);
        Thread.advance();
    }

    /// @notice Verifies `proof`, puts `word` around `va` and ends a reservation there.
    function writeWord(Proof proof, uint64 va, uint64 word) internal pure {
        MemoryTree.put(proof, va, LEAF, MemoryTree.withWord(proof.node(), va, word));
        State.onWrite(va & ~uint64(7));
    }

    /// @notice R[rs] + immediate.
    function address_(uint32 insn) internal pure returns (uint64) {
        unchecked {
            return Thread.reg(rsOf(insn)) + simmOf(insn);
        }
    }

    /// @notice The 32-bit half of `word` that contains `va`: the upper one for an even multiple of 4.
    function halfOf(uint64 word, uint64 va) internal pure returns (uint64) {
        return va & 4 == 0 ? word >> 32 : word & 0xFFFFFFFF;
    }

    /// @notice `word` with the low 32 bits of `half` in place of the half that contains `va`.
    function withHalf(uint64 word, uint64 va, uint64 half) internal pure returns (uint64) {
        half &= 0xFFFFFFFF;
        return va & 4 == 0 ? (word & 0xFFFFFFFF) | (half << 32) : (word & 0xFFFFFFFF00000000) | half;
    }

    /// @notice Bits of `value` where `mask` is 1, of `old` elsewhere.
    function merged(uint64 old, uint64 value, uint64 mask) internal pure returns (uint64) {
        return (old & ~mask) | (value & mask);
    }

    function setHiLo(uint64 hi, uint64 lo) internal pure {
        Frame.setU64(Thread.HI, hi);
        Frame.setU64(Thread.LO, lo);
    }

    /// @notice How many of the highest `limit` bits of `x` stand before the first 1.
    function leadingZeros(uint64 x, uint64 limit) internal pure returns (uint64 n) {
        unchecked {
            if (x == 0) return limit;
            for (uint256 width = 32; width != 0; width >>= 1) {
                if (x >> (64 - width) == 0) {
                    n += uint64(width);
                    x <<= width;
                }
            }
        }
    }

    function requireDivisor(uint64 t) internal pure {
        if (t != 0) return;
        Refusals.division(Frame.u64(Thread.PC));
    }

    /// @notice Reverts in the delay slot of a branch, which is where next pc is not pc + 4.
    /// @param isJump Whether a jump stands there, not a branch: the published machine has a word for each.
    function requireNoDelaySlot(bool isJump) internal pure returns (uint64 pc) {
        unchecked {
            pc = Frame.u64(Thread.PC);
            if (Frame.u64(Thread.NEXT_PC) != pc + 4) Refusals.delaySlot(pc, isJump);
        }
    }
}

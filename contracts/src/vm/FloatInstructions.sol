// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {functOf, rdOf, rsOf, rtOf, shamtOf, simmOf, sx32} from "./Fields.sol";
import {Fpu} from "./Fpu.sol";
import {Frame} from "./Frame.sol";
import {Instructions} from "./Instructions.sol";
import {LEAF, MemoryTree, Proof} from "./MemoryTree.sol";
import {Thread} from "./Thread.sol";
import {InstructionUnsupported} from "./VmErrors.sol";

/*   31    26 25   21 20   16 15   11 10    6 5      0
 *  |  COP1  |  fmt  |  ft   |  fs   |  fd   | funct  |   add.s  fd, fs, ft
 *  | COP1X  |  fr   |  ft   |  fs   |  fd   | funct  |   madd.s fd, fr, fs, ft   fused: one rounding
 *  |  COP1  |  fmt  | cc nd tf |      offset         |   bc1t   cc, offset
 */
/// @title FloatInstructions
/// @notice Version ML's instructions: single-precision floating point, its registers and condition codes.
library FloatInstructions {
    /// @notice The bits of FCSR that exist: condition code 0 is bit 23, code i is bit 24 + i.
    uint32 internal constant FCSR_MASK = 0xFE800000;

    /// @notice Runs an instruction of opcode 11 (COP1), 13 (COP1X), 31 (lwc1) or 39 (swc1).
    function execute(uint32 insn, uint256 opcode) internal pure {
        if (opcode == 0x11) return cop1(insn);
        if (opcode == 0x13) return cop1x(insn);
        if (opcode == 0x31) return load(Instructions.address_(insn), rtOf(insn));
        if (opcode == 0x39) return store(Instructions.address_(insn), rtOf(insn));
        revert InstructionUnsupported(insn);
    }

    /// @notice Opcode 11, by fmt: moves, branches, arithmetic.
    function cop1(uint32 insn) internal pure {
        uint256 fmt = rsOf(insn);
        uint256 fs = rdOf(insn);
        if (fmt == 0x10) {
            single(insn);
        } else if (fmt == 0x08) {
            return branch(insn);
        } else if (fmt == 0x00) {
            Thread.setReg(rtOf(insn), sx32(Thread.fpr(fs))); // mfc1
        } else if (fmt == 0x04) {
            Thread.setFpr(fs, uint32(Thread.reg(rtOf(insn)))); // mtc1
        } else if (fmt == 0x14 && functOf(insn) == 0x20) {
            Thread.setFpr(shamtOf(insn), Fpu.fromInt(int32(Thread.fpr(fs)))); // cvt.s.w
        } else if (fmt == 0x02 && fs == 31) {
            Thread.setReg(rtOf(insn), sx32(Frame.u32(Thread.FCSR))); // cfc1
        } else if (fmt == 0x06 && fs == 31) {
            uint32 value = uint32(Thread.reg(rtOf(insn))); // ctc1
            if (value & ~FCSR_MASK != 0) revert InstructionUnsupported(insn);
            Frame.setU32(Thread.FCSR, value);
        } else {
            revert InstructionUnsupported(insn);
        }
        Thread.advance();
    }

    /// @notice fmt 10 (.s), by funct.
    function single(uint32 insn) internal pure {
        uint256 funct = functOf(insn);
        uint32 s = Thread.fpr(rdOf(insn));
        uint32 d;
        if (funct < 0x04 || funct >= 0x30) {
            uint32 t = Thread.fpr(rtOf(insn));
            if (funct == 0x00) d = Fpu.add(s, t); // add.s
            else if (funct == 0x01) d = Fpu.sub(s, t); // sub.s
            else if (funct == 0x02) d = Fpu.mul(s, t); // mul.s
            else if (funct == 0x03) d = Fpu.div(s, t); // div.s
            else return compare(insn, s, t); // c.cond.s
        } else if (funct == 0x04) {
            d = Fpu.sqrt(s); // sqrt.s
        } else if (funct == 0x05) {
            d = s & Fpu.MAGNITUDE; // abs.s
        } else if (funct == 0x06) {
            d = s; // mov.s
        } else if (funct == 0x07) {
            d = s ^ Fpu.SIGN; // neg.s
        } else if (funct == 0x0C || funct == 0x24) {
            d = Fpu.toInt(s, Fpu.Rounding.Nearest); // round.w.s, cvt.w.s
        } else if (funct == 0x0D) {
            d = Fpu.toInt(s, Fpu.Rounding.Truncate); // trunc.w.s
        } else if (funct == 0x0E) {
            d = Fpu.toInt(s, Fpu.Rounding.Ceil); // ceil.w.s
        } else if (funct == 0x0F) {
            d = Fpu.toInt(s, Fpu.Rounding.Floor); // floor.w.s
        } else if (funct == 0x11) {
            if (!isCondition(insn)) return; // movf.s, movt.s
            d = s;
        } else if (funct == 0x12 || funct == 0x13) {
            if ((Thread.reg(rtOf(insn)) == 0) != (funct == 0x12)) return; // movz.s, movn.s
            d = s;
        } else {
            revert InstructionUnsupported(insn);
        }
        Thread.setFpr(shamtOf(insn), d);
    }

    /// @notice c.cond.s: the low bits of funct choose among less, equal, unordered. Signalling forms are quiet too.
    function compare(uint32 insn, uint32 s, uint32 t) internal pure {
        (bool isUnordered, bool isEqual, bool isLess) = Fpu.compare(s, t);
        bool condition = (isUnordered && insn & 1 != 0) || (isEqual && insn & 2 != 0) || (isLess && insn & 4 != 0);
        uint32 bit = conditionBit((insn >> 8) & 7);
        uint32 fcsr = Frame.u32(Thread.FCSR);
        Frame.setU32(Thread.FCSR, condition ? fcsr | bit : fcsr & ~bit);
    }

    /// @notice fmt 08: bc1f, bc1t and the likely forms, which skip the delay slot if not taken.
    function branch(uint32 insn) internal pure {
        unchecked {
            uint64 pc = Instructions.requireNoDelaySlot(false);
            bool isLikely = (insn >> 17) & 1 != 0;
            if (isCondition(insn)) {
                Thread.jump(pc + 4 + (simmOf(insn) << 2));
            } else {
                Thread.advance();
                if (isLikely) Thread.advance();
            }
        }
    }

    /// @notice Opcode 13, by funct: indexed loads and stores, fused multiply-add.
    function cop1x(uint32 insn) internal pure {
        unchecked {
            uint256 funct = functOf(insn);
            if (funct == 0x00 || funct == 0x08) {
                uint64 va = Thread.reg(rsOf(insn)) + Thread.reg(rtOf(insn));
                return funct == 0x00 ? load(va, shamtOf(insn)) : store(va, rdOf(insn)); // lwxc1, swxc1
            }
            uint32 r = Thread.fpr(rsOf(insn));
            if (funct == 0x28 || funct == 0x38) r ^= Fpu.SIGN; // msub.s, nmsub.s; what is made of a NaN does not matter
            else if (funct != 0x20 && funct != 0x30) revert InstructionUnsupported(insn); // madd.s, nmadd.s
            uint32 d = Fpu.fusedMultiplyAdd(Thread.fpr(rdOf(insn)), Thread.fpr(rtOf(insn)), r);
            Thread.setFpr(shamtOf(insn), funct < 0x30 ? d : Fpu.negateNumber(d));
            Thread.advance();
        }
    }

    /// @notice lwc1, lwxc1: the aligned 4 bytes that contain `va`.
    function load(uint64 va, uint256 ft) internal pure {
        Thread.setFpr(ft, uint32(Instructions.halfOf(MemoryTree.readWord(va), va)));
        Thread.advance();
    }

    /// @notice swc1, swxc1.
    function store(uint64 va, uint256 fs) internal pure {
        Proof proof = MemoryTree.next(LEAF);
        uint64 word = MemoryTree.wordOf(proof.node(), va); // ASSUMES: verified by `writeWord`
        Instructions.writeWord(proof, va, Instructions.withHalf(word, va, Thread.fpr(fs)));
        Thread.advance();
    }

    /// @notice Whether the condition code in bits 20..18 equals bit 16.
    function isCondition(uint32 insn) internal pure returns (bool) {
        bool isSet = Frame.u32(Thread.FCSR) & conditionBit((insn >> 18) & 7) != 0;
        return isSet == ((insn >> 16) & 1 != 0);
    }

    /// @notice Where condition code `cc` stands in FCSR.
    function conditionBit(uint256 cc) internal pure returns (uint32) {
        return uint32(1) << uint32(cc == 0 ? 23 : 24 + cc);
    }
}

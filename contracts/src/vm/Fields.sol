// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

// The fields of an instruction word.

/*   31    26 25   21 20   16 15   11 10    6 5      0
 *  | opcode |  rs   |  rt   |  rd   | shamt | funct  |   register form
 *  | opcode |  rs   |  rt   |       immediate        |   immediate form
 *  | opcode |              target                    |   jump
 */
function opcodeOf(uint32 insn) pure returns (uint256) {
    return insn >> 26;
}

function rsOf(uint32 insn) pure returns (uint256) {
    return (insn >> 21) & 31;
}

function rtOf(uint32 insn) pure returns (uint256) {
    return (insn >> 16) & 31;
}

function rdOf(uint32 insn) pure returns (uint256) {
    return (insn >> 11) & 31;
}

function shamtOf(uint32 insn) pure returns (uint256) {
    return (insn >> 6) & 31;
}

function functOf(uint32 insn) pure returns (uint256) {
    return insn & 63;
}

/// @notice The immediate, sign-extended.
function simmOf(uint32 insn) pure returns (uint64 simm) {
    assembly ("memory-safe") {
        simm := and(signextend(1, insn), 0xFFFFFFFFFFFFFFFF)
    }
}

/// @notice The low 8 * (lastByte + 1) bits of `x`, sign-extended to 64 bits.
function sx(uint256 lastByte, uint64 x) pure returns (uint64 y) {
    assembly ("memory-safe") {
        y := and(signextend(lastByte, x), 0xFFFFFFFFFFFFFFFF)
    }
}

/// @notice The low 32 bits of `x`, sign-extended to 64 bits.
function sx32(uint64 x) pure returns (uint64) {
    return sx(3, x);
}

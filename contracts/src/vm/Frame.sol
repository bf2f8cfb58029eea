// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

// The working memory of one step. State and thread are copied from calldata as they are encoded, changed in place
// and hashed in place: nothing is unpacked, so a step pays only for the fields it touches.
//
//    0x80  state witness    188 bytes (State.sol)
//   0x140  thread witness   298 bytes, 430 in version ML (Thread.sol)
//   0x300  INNER_ROOT       root of the active stack without its top thread
//   0x320  ORACLE           address of the pre-image oracle
//   0x340  LOCAL_CONTEXT    salt of local pre-image keys
//   0x360  IS_ML            1: the ML extension is active
//   0x380  THREAD_BYTES     size of the thread witness
//   0x3A0  PROOF_AT         calldata offset of the part of the proof that is used next
//   0x3C0  PROOF_END        calldata offset behind the proof
//   0x3E0  ZERO_ROOTS       0 in the full proof encoding; else where the table of zero roots lies (MemoryTree.sol)
//   0x400  free memory
//
// INVARIANT: `Frame.open` runs before anything else has allocated memory, and moves the free memory pointer behind
// the frame; so the fixed places above belong to us alone.

uint256 constant STATE = 0x80;
uint256 constant STATE_BYTES = 188;
uint256 constant THREAD = 0x140;
uint256 constant BASE_THREAD_BYTES = 298;
uint256 constant FPU_BYTES = 132;
uint256 constant MEMORY_PROOF_BYTES = 60 * 32; // a leaf and its siblings, in the full encoding
uint256 constant INNER_ROOT = 0x300;
uint256 constant ORACLE = 0x320;
uint256 constant LOCAL_CONTEXT = 0x340;
uint256 constant IS_ML = 0x360;
uint256 constant THREAD_BYTES = 0x380;
uint256 constant PROOF_AT = 0x3A0;
uint256 constant PROOF_END = 0x3C0;
uint256 constant ZERO_ROOTS = 0x3E0;
uint256 constant FRAME_END = 0x400;

/// @title Frame
/// @notice Opens a step's working memory; reads and writes the fields of the packed encodings in it.
library Frame {
    /// @notice Reserves the frame. Must be the first thing a step does.
    function open() internal pure {
        assembly ("memory-safe") {
            // 0x80 is where Solidity's memory starts: anything else means that memory was allocated before.
            if iszero(eq(mload(0x40), 0x80)) { invalid() }
            mstore(0x40, FRAME_END)
        }
    }

    function word(uint256 at) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := mload(at)
        }
    }

    function setWord(uint256 at, uint256 value) internal pure {
        assembly ("memory-safe") {
            mstore(at, value)
        }
    }

    /// @notice The big-endian 8 bytes at `at`.
    function u64(uint256 at) internal pure returns (uint64 value) {
        assembly ("memory-safe") {
            value := shr(192, mload(at))
        }
    }

    /// @notice Puts 8 big-endian bytes at `at`; the bytes behind them stay.
    function setU64(uint256 at, uint64 value) internal pure {
        assembly ("memory-safe") {
            mstore(at, or(shl(192, value), shr(64, shl(64, mload(at)))))
        }
    }

    /// @notice The big-endian 4 bytes at `at`.
    function u32(uint256 at) internal pure returns (uint32 value) {
        assembly ("memory-safe") {
            value := shr(224, mload(at))
        }
    }

    /// @notice Puts 4 big-endian bytes at `at`; the bytes behind them stay.
    function setU32(uint256 at, uint32 value) internal pure {
        assembly ("memory-safe") {
            mstore(at, or(shl(224, value), shr(32, shl(32, mload(at)))))
        }
    }

    function u8(uint256 at) internal pure returns (uint8 value) {
        assembly ("memory-safe") {
            value := byte(0, mload(at))
        }
    }

    function setU8(uint256 at, uint8 value) internal pure {
        assembly ("memory-safe") {
            mstore8(at, value)
        }
    }

    /// @notice keccak256(left ++ right).
    function hashPair(bytes32 left, bytes32 right) internal pure returns (bytes32 parent) {
        assembly ("memory-safe") {
            mstore(0x00, left)
            mstore(0x20, right)
            parent := keccak256(0x00, 0x40)
        }
    }
}

// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Frame, THREAD, THREAD_BYTES, INNER_ROOT, PROOF_AT, PROOF_END} from "./Frame.sol";
import {Refusals} from "./Refusals.sol";
import {EMPTY_STACK, State} from "./State.sol";

/// @title Thread
/// @notice The active thread: packed, big-endian bytes at `THREAD` in the frame; and the stacks that commit to threads.
///
///    offset  width                       offset  width
///      0       8   thread id               34      8    HI
///      8       1   exit code               42    256    R[0] .. R[31]
///      9       1   exited: 0 or not       298    128    F[0] .. F[31], 4 bytes each   (version ML only)
///     10       8   pc                     426      4    FCSR                          (version ML only)
///     18       8   next pc
///     26       8   LO
///
/// A stack of threads is an onion of hashes: pushing thread t onto root c gives keccak256(c ++ keccak256(t)).
library Thread {
    uint256 internal constant ID = THREAD;
    uint256 internal constant EXIT_CODE = THREAD + 8;
    uint256 internal constant EXITED = THREAD + 9;
    uint256 internal constant PC = THREAD + 10;
    uint256 internal constant NEXT_PC = THREAD + 18;
    uint256 internal constant LO = THREAD + 26;
    uint256 internal constant HI = THREAD + 34;
    uint256 internal constant REGISTERS = THREAD + 42;
    uint256 internal constant FLOAT_REGISTERS = THREAD + 298;
    uint256 internal constant FCSR = THREAD + 426;

    /// @notice Reads thread and inner root from the proof and checks that they are the active stack.
    function load() internal pure {
        uint256 size = Frame.word(THREAD_BYTES);
        uint256 at = Frame.word(PROOF_AT);
        uint256 end = at + size + 32;
        if (end > Frame.word(PROOF_END)) Refusals.threadProofTooShort(end, Frame.word(PROOF_END));
        assembly ("memory-safe") {
            calldatacopy(THREAD, at, size)
            calldatacopy(INNER_ROOT, add(at, size), 32)
        }
        Frame.setWord(PROOF_AT, end);
        bytes32 expected = bytes32(Frame.word(State.activeStack()));
        bytes32 found = pushedOnto(bytes32(Frame.word(INNER_ROOT)));
        if (found != expected) Refusals.threadProof(found, expected);
    }

    /// @notice The root of the stack `root` with the thread, as it now is, on top.
    function pushedOnto(bytes32 root) internal pure returns (bytes32 pushed) {
        assembly ("memory-safe") {
            mstore(0x20, keccak256(THREAD, mload(THREAD_BYTES)))
            mstore(0x00, root)
            pushed := keccak256(0x00, 0x40)
        }
    }

    /// @notice Writes the thread, as it now is, back onto the active stack.
    function commit() internal pure {
        Frame.setWord(State.activeStack(), uint256(pushedOnto(bytes32(Frame.word(INNER_ROOT)))));
    }

    /// @notice Removes the (exited) thread from the active stack.
    function pop() internal pure {
        uint256 active = State.activeStack();
        bytes32 inner = bytes32(Frame.word(INNER_ROOT));
        Frame.setWord(active, uint256(inner));
        if (inner == EMPTY_STACK) Frame.setU8(State.TRAVERSE_RIGHT, Frame.u8(State.TRAVERSE_RIGHT) == 0 ? 1 : 0);
        Frame.setU64(State.SLICE, 0);
    }

    /// @notice Moves the thread, as it now is, to the other stack; the next thread's turn has come.
    function preempt() internal pure {
        uint256 inactive = State.inactiveStack();
        Frame.setWord(inactive, uint256(pushedOnto(bytes32(Frame.word(inactive)))));
        pop();
    }

    /// @notice Pushes the thread, as it now is, as a new one onto the active stack: it runs next.
    function push() internal pure {
        uint256 active = State.activeStack();
        Frame.setWord(active, uint256(pushedOnto(bytes32(Frame.word(active)))));
        Frame.setU64(State.SLICE, 0);
    }

    /// @notice General register `index`, 0 to 31. Register 0 is protected against writes only: it reads as it is.
    function reg(uint256 index) internal pure returns (uint64) {
        unchecked {
            return Frame.u64(REGISTERS + (index << 3));
        }
    }

    function setReg(uint256 index, uint64 value) internal pure {
        unchecked {
            if (index != 0) Frame.setU64(REGISTERS + (index << 3), value);
        }
    }

    /// @notice Floating-point register `index`, 0 to 31: the bits of a binary32.
    function fpr(uint256 index) internal pure returns (uint32) {
        unchecked {
            return Frame.u32(FLOAT_REGISTERS + (index << 2));
        }
    }

    function setFpr(uint256 index, uint32 bits) internal pure {
        unchecked {
            Frame.setU32(FLOAT_REGISTERS + (index << 2), bits);
        }
    }

    /// @notice On to the next instruction.
    function advance() internal pure {
        unchecked {
            uint64 next = Frame.u64(NEXT_PC);
            jump(next + 4);
        }
    }

    /// @notice The delay slot comes next, then `target`.
    function jump(uint64 target) internal pure {
        Frame.setU64(PC, Frame.u64(NEXT_PC));
        Frame.setU64(NEXT_PC, target);
    }
}

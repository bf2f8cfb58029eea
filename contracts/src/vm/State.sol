// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Frame, STATE, STATE_BYTES} from "./Frame.sol";
import {Refusals} from "./Refusals.sol";
import {StateHash, VmStatus} from "./StateHash.sol";
import {StateDataLength} from "./VmErrors.sol";

// Root of a thread stack without threads: the hash of 64 zero bytes.
bytes32 constant EMPTY_STACK = 0xad3228b676f7d3cd4284a5443f17f1962b36e491b30a40b2405849e597ba5fb5;

/// @title State
/// @notice The VM's state witness: 188 packed, big-endian bytes at `STATE` in the frame.
///
///    offset  width                                   offset  width
///      0      32   memory root                         97      1    exit code
///     32      32   pre-image key                       98      1    exited: 0 or 1
///     64       8   pre-image offset                    99      8    step
///     72       8   heap                               107      8    slice: steps since the last context switch
///     80       1   reservation: 0, 1 (ll), 2 (lld)    115      1    traverse right: 0, the left stack is active, or not
///     81       8   its address                        116     32    left thread stack
///     89       8   its owner, a thread's id           148     32    right thread stack
///                                                     180      8    next thread id
library State {
    uint256 internal constant MEMORY_ROOT = STATE;
    uint256 internal constant PREIMAGE_KEY = STATE + 32;
    uint256 internal constant PREIMAGE_OFFSET = STATE + 64;
    uint256 internal constant HEAP = STATE + 72;
    uint256 internal constant LL_STATUS = STATE + 80;
    uint256 internal constant LL_ADDRESS = STATE + 81;
    uint256 internal constant LL_OWNER = STATE + 89;
    uint256 internal constant EXIT_CODE = STATE + 97;
    uint256 internal constant EXITED = STATE + 98;
    uint256 internal constant STEP = STATE + 99;
    uint256 internal constant SLICE = STATE + 107;
    uint256 internal constant TRAVERSE_RIGHT = STATE + 115;
    uint256 internal constant LEFT_STACK = STATE + 116;
    uint256 internal constant RIGHT_STACK = STATE + 148;
    uint256 internal constant NEXT_THREAD_ID = STATE + 180;

    /// @notice Copies the witness into the frame.
    function load(bytes calldata stateData) internal pure {
        if (stateData.length != STATE_BYTES) revert StateDataLength(stateData.length, STATE_BYTES);
        assembly ("memory-safe") {
            calldatacopy(STATE, stateData.offset, STATE_BYTES)
        }
    }

    /// @notice keccak256 of the witness, its first byte replaced by the VM status.
    function hash() internal pure returns (StateHash stateHash) {
        uint256 status = VmStatus.UNFINISHED;
        if (Frame.u8(EXITED) != 0) {
            uint8 code = Frame.u8(EXIT_CODE);
            status = code < VmStatus.PANIC ? code : VmStatus.PANIC;
        }
        assembly ("memory-safe") {
            stateHash := or(shl(248, status), shr(8, shl(8, keccak256(STATE, STATE_BYTES))))
        }
    }

    function memoryRoot() internal pure returns (bytes32) {
        return bytes32(Frame.word(MEMORY_ROOT));
    }

    /// @notice Where the root of the active stack stands in the frame.
    function activeStack() internal pure returns (uint256 at) {
        return Frame.u8(TRAVERSE_RIGHT) != 0 ? RIGHT_STACK : LEFT_STACK;
    }

    /// @notice Where the root of the other stack stands in the frame.
    function inactiveStack() internal pure returns (uint256 at) {
        return Frame.u8(TRAVERSE_RIGHT) != 0 ? LEFT_STACK : RIGHT_STACK;
    }

    /// @notice Reverts if no thread is on the active stack.
    /// @param isAfter Whether the step was made already.
    function requireThread(bool isAfter) internal pure {
        if (bytes32(Frame.word(activeStack())) == EMPTY_STACK) Refusals.noThread(isAfter);
    }

    /// @notice Ends the VM.
    function exit(uint8 code) internal pure {
        Frame.setU8(EXITED, 1);
        Frame.setU8(EXIT_CODE, code);
    }

    /// @notice No load-linked reservation any more.
    function clearReservation() internal pure {
        // The 17 bytes of the three fields are neighbours.
        assembly ("memory-safe") {
            let at := add(STATE, 80)
            mstore(at, shr(136, shl(136, mload(at))))
        }
    }

    /// @notice What every write to the word at `wordAddress` does: it ends a reservation in that word, whichever thread
    ///      holds it and whether or not the word changes.
    function onWrite(uint64 wordAddress) internal pure {
        if (wordAddress == Frame.u64(LL_ADDRESS) & ~uint64(7)) clearReservation();
    }

    /// @notice What replacing 2^`log2Size` bytes at `addr` does: it ends a reservation among them.
    function onReplace(uint64 addr, uint256 log2Size) internal pure {
        if (addr >> log2Size == Frame.u64(LL_ADDRESS) >> log2Size) clearReservation();
    }
}

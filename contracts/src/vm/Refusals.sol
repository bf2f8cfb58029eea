// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {BASE_THREAD_BYTES, Frame, IS_ML, MEMORY_PROOF_BYTES, PROOF_AT, ZERO_ROOTS} from "./Frame.sol";
import "./VmErrors.sol";

/// @title Refusals
/// @notice The reasons why a step is refused, in the terms of the state's version: a base state's are those of the
///      published machine, whose clients and test suites look for them; states of version ML tell what was found.
library Refusals {
    /// @dev Where the second argument of `step`, the proof, says how far behind the selector it stands.
    uint256 private constant PROOF_OFFSET_AT = 4 + 32;

    function exitedFlag(uint8 found) internal pure {
        if (_isBase()) revert InvalidExitedValue();
        revert ExitedFlagInvalid(found);
    }

    /// @param isAfter Whether the step was made already.
    function noThread(bool isAfter) internal pure {
        if (!_isBase()) revert ThreadStackEmpty();
        if (isAfter) revert("MIPS64: post-state active thread stack is empty");
        revert("MIPS64: active thread stack is empty");
    }

    function threadProofTooShort(uint256 neededUpTo, uint256 endsAt) internal pure {
        if (_isBase()) revert("MIPS64: insufficient calldata for thread witness");
        revert ProofTooShort(neededUpTo, endsAt);
    }

    function threadProof(bytes32 found, bytes32 expected) internal pure {
        if (_isBase()) revert("MIPS64: invalid thread witness");
        revert ThreadProofMismatch(found, expected);
    }

    function memoryProofTooShort(uint256 neededUpTo, uint256 endsAt) internal pure {
        if (_isBase()) revert("MIPS64Memory: check that there is enough calldata");
        revert ProofTooShort(neededUpTo, endsAt);
    }

    /// @dev The proof is the one that `PROOF_AT` has just passed.
    function memoryProof(bytes32 found, bytes32 expected) internal pure {
        if (!_isBase()) revert MemoryProofMismatch(found, expected);
        uint256 start;
        assembly ("memory-safe") {
            start := add(calldataload(PROOF_OFFSET_AT), 36) // selector, and the proof's own length
        }
        unchecked {
            uint256 behindSecondAccess = start + BASE_THREAD_BYTES + 32 + 3 * MEMORY_PROOF_BYTES;
            bool isFull = Frame.word(ZERO_ROOTS) == 0;
            if (isFull && Frame.word(PROOF_AT) == behindSecondAccess) revert InvalidSecondMemoryProof();
        }
        revert InvalidMemoryProof();
    }

    function programCounter(uint64 pc) internal pure {
        if (_isBase()) revert InvalidPC();
        revert ProgramCounterMisaligned(pc);
    }

    function instruction(uint32 insn) internal pure {
        if (_isBase()) revert("MIPS64: invalid instruction");
        revert InstructionUnsupported(insn);
    }

    function delaySlot(uint64 pc, bool isJump) internal pure {
        if (!_isBase()) revert BranchInDelaySlot(pc);
        if (isJump) revert("MIPS64: jump in delay slot");
        revert("MIPS64: branch in delay slot");
    }

    function division(uint64 pc) internal pure {
        if (_isBase()) revert("MIPS64: division by zero");
        revert DivisionByZero(pc);
    }

    function systemCall(uint64 number) internal pure {
        if (_isBase()) revert("MIPS64: unimplemented syscall");
        revert SystemCallUnsupported(number);
    }

    function _isBase() private pure returns (bool) {
        return Frame.word(IS_ML) == 0;
    }
}

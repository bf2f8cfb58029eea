// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

// Why a step has no post-state. A step that reverts can neither be won nor lost: the honest trace never contains one.

/// @notice The state witness is not 188 bytes long.
error StateDataLength(uint256 found, uint256 expected);

// The machine's published contract says these without values, or as strings, and its test suites look for that. So base states
// (version 8) are refused in its words, states of version ML with the values that were found: Refusals.sol.

/// @notice In base states: the state's `exited` byte is neither 0 nor 1.
error InvalidExitedValue();

/// @notice In base states: the program counter is not a multiple of 4.
error InvalidPC();

/// @notice In base states: a memory proof leads to another root than the one the state holds.
error InvalidMemoryProof();

/// @notice In base states: the same of the second word that a step writes.
error InvalidSecondMemoryProof();

/// @notice The state's `exited` byte is neither 0 nor 1.
error ExitedFlagInvalid(uint8 found);

/// @notice The active thread stack is empty: there is nothing to run.
error ThreadStackEmpty();

/// @notice The thread in the proof is not the top of the active stack.
error ThreadProofMismatch(bytes32 found, bytes32 expected);

/// @notice The proof ends before a part that this step needs; both are calldata offsets.
error ProofTooShort(uint256 neededUpTo, uint256 endsAt);

/// @notice A compact proof announces a sibling above the memory root.
error ProofBitmapInvalid(uint256 found, uint256 levels);

/// @notice A memory proof leads to another root than the one the state holds.
error MemoryProofMismatch(bytes32 found, bytes32 expected);

/// @notice The program counter is not a multiple of 4.
error ProgramCounterMisaligned(uint64 pc);

/// @notice The word is no instruction of this machine.
error InstructionUnsupported(uint32 insn);

/// @notice A branch or jump stands in the delay slot of another.
error BranchInDelaySlot(uint64 pc);

/// @notice An integer division by zero.
error DivisionByZero(uint64 pc);

/// @notice The number in R[2] is no system call of this machine.
error SystemCallUnsupported(uint64 number);

/// @notice The verifier was constructed for a state version that it does not know.
error StateVersionUnsupported(uint256 found);

// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {BASE_THREAD_BYTES, FPU_BYTES, Frame, IS_ML, LOCAL_CONTEXT, ORACLE, THREAD_BYTES} from "./Frame.sol";
import {functOf, opcodeOf} from "./Fields.sol";
import {IPreimageOracle} from "./IPreimageOracle.sol";
import {Instructions} from "./Instructions.sol";
import {LocalContext} from "./LocalContext.sol";
import {MemoryTree} from "./MemoryTree.sol";
import {Refusals} from "./Refusals.sol";
import {State} from "./State.sol";
import {StateHash} from "./StateHash.sol";
import {Syscalls} from "./Syscalls.sol";
import {Thread} from "./Thread.sol";
import {StateVersionUnsupported} from "./VmErrors.sol";

/// @title FPVM
/// @notice The fault proof VM's verifier: runs one instruction of a big-endian MIPS64 machine with 2^64 bytes of memory,
/// from a witness of its state and Merkle proofs of what the instruction touches.
///
/// State version 8 (base) steps exactly as the OP Stack's `MIPS64` 1.10.1. Version 136 (ML) adds floating point and system
/// calls for whole subtrees of memory. docs/vm.md has the rules. The
/// engine's native/vm/ is the same machine in C.
/// @dev A step changes nothing on chain and logs nothing: the post-state can be had from the engine, and the log
/// that the OP Stack's contract writes would cost about 2,000 gas.
contract FPVM {
    uint256 public constant STATE_VERSION_BASE = 8;
    uint256 public constant STATE_VERSION_ML = 136;

    /// @notice Steps a thread may run before another's turn comes.
    uint64 internal constant QUANTUM = 100_000;

    /// @notice Where steps read pre-images.
    IPreimageOracle public immutable oracle;

    /// @notice Which machine this is: 8 (base) or 136 (ML).
    uint256 public immutable stateVersion;

    /// @notice The rules' version, as clients know it.
    string public constant version = "1.10.1";

    constructor(IPreimageOracle oracle_, uint256 stateVersion_) {
        if (stateVersion_ != STATE_VERSION_BASE && stateVersion_ != STATE_VERSION_ML) {
            revert StateVersionUnsupported(stateVersion_);
        }
        oracle = oracle_;
        stateVersion = stateVersion_;
    }

    /// @notice Runs one step. Reverts if the state has no successor or the proof does not belong to it.
    /// @param stateData The state witness, 188 bytes.
    /// @param proof The active thread and memory proofs, in the full or the compact encoding; unused parts are not read.
    /// @param localContext Salt of local pre-image keys.
    /// @return postState Hash of the next state, its first byte the VM status. An exited VM stays as it is.
    function step(bytes calldata stateData, bytes calldata proof, LocalContext localContext)
        external
        view
        returns (StateHash postState)
    {
        Frame.open();
        State.load(stateData);
        uint8 exited = Frame.u8(State.EXITED);
        bool isMl = stateVersion == STATE_VERSION_ML;
        Frame.setWord(IS_ML, isMl ? 1 : 0);
        if (exited > 1) {
            Refusals.exitedFlag(exited);
        }
        if (exited == 0) {
            MemoryTree.open(proof);
            Frame.setWord(THREAD_BYTES, isMl ? BASE_THREAD_BYTES + FPU_BYTES : BASE_THREAD_BYTES);
            Frame.setWord(ORACLE, uint160(address(oracle)));
            Frame.setWord(LOCAL_CONTEXT, uint256(localContext.raw()));
            _run();
        }
        State.requireThread(true);
        return State.hash();
    }

    /// @dev One step of a VM that has not exited.
    function _run() private view {
        State.requireThread(false);
        unchecked {
            Frame.setU64(State.STEP, Frame.u64(State.STEP) + 1);
        }
        Thread.load();
        if (Frame.u8(Thread.EXITED) != 0) return Thread.pop();
        uint64 slice = Frame.u64(State.SLICE);
        if (slice >= QUANTUM) return Thread.preempt();
        Frame.setU64(State.SLICE, slice + 1);

        uint32 insn = Instructions.fetch();
        if (opcodeOf(insn) == 0x00 && functOf(insn) == 0x0C) return Syscalls.call();
        Instructions.execute(insn);
        Thread.commit();
    }
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IFpvm, ILocalPreimageOracle} from "../dispute/interfaces/IFpvm.sol";
import {StateRoot} from "../dispute/StateRoot.sol";
import {LocalIdent} from "../dispute/Types.sol";
import {IPreimageOracle} from "../vm/IPreimageOracle.sol";
import {LocalContext} from "../vm/LocalContext.sol";
import {LOCAL_KEY, PreimageKey, preimageKey} from "../vm/PreimageKey.sol";
import {StateHash, VmStatus, stateHashOf} from "../vm/StateHash.sol";

/// @title The VM of simulated games: an inference and its trace made of hashes alone
/// @notice The chain's half of opml_dispute/simulation/symbolic.py, whose `execute_step` it is. With it a simulation plays on
///         the real game contract. It secures nothing: never put it behind a game that decides about money.
/// @dev A state is 81 bytes: steps done (8), starting root (32), disputed root (32), fault tag (8), status (1). A state root is
///      a counter (8) and the first 24 bytes of a hash.
contract SymbolicVm is IFpvm {
    uint256 internal constant STATE_BYTES = 81;
    uint256 internal constant LENGTH_PREFIX_BYTES = 8;

    ILocalPreimageOracle public immutable oracle;
    uint64 public immutable nodeCount;
    uint64 public immutable stepsPerNode;
    /// @notice The step of every run that has no outcome, as in a machine whose exceptions revert; 0: none.
    uint64 public immutable revertsAt;

    error NotASymbolicState(uint256 length);
    error NoOutcome(uint64 step);

    constructor(ILocalPreimageOracle oracle_, uint64 nodeCount_, uint64 stepsPerNode_, uint64 revertsAt_) {
        oracle = oracle_;
        nodeCount = nodeCount_;
        stepsPerNode = stepsPerNode_;
        revertsAt = revertsAt_;
    }

    /// @inheritdoc IFpvm
    function step(bytes calldata stateData, bytes calldata, LocalContext localContext)
        external
        view
        returns (StateHash)
    {
        if (stateData.length != STATE_BYTES) revert NotASymbolicState(stateData.length);
        uint64 done = uint64(bytes8(stateData[:8]));
        StateRoot starting = StateRoot.wrap(bytes32(stateData[8:40]));
        StateRoot disputed = StateRoot.wrap(bytes32(stateData[40:72]));
        bytes8 faultTag = bytes8(stateData[72:80]);
        uint8 status = uint8(stateData[80]);
        if (status == VmStatus.UNFINISHED) {
            ++done;
            if (done == revertsAt) revert NoOutcome(done);
            if (done == 1) {
                starting = readLocal(LocalIdent.STARTING_ROOT, localContext);
            } else if (done == 2) {
                disputed = readLocal(LocalIdent.DISPUTED_ROOT, localContext);
            } else if (done == stepsPerNode) {
                status = rootAfter(starting, faultTag) == disputed ? VmStatus.VALID : VmStatus.INVALID;
            }
        }
        return stateHashOf(keccak256(abi.encodePacked(done, starting, disputed, faultTag, status)), status);
    }

    /// @notice The root after one node; past the last node nothing changes.
    function rootAfter(StateRoot root, bytes8 faultTag) public view returns (StateRoot) {
        uint64 counter = uint64(bytes8(root.raw()));
        if (counter >= nodeCount) return root;
        bytes32 body = faultTag == 0 ? keccak256(abi.encodePacked(root)) : keccak256(abi.encodePacked(root, faultTag));
        return StateRoot.wrap(bytes32((uint256(counter + 1) << 192) | (uint256(body) >> 64)));
    }

    function readLocal(uint256 ident, LocalContext localContext) internal view returns (StateRoot) {
        PreimageKey key = preimageKey(bytes32(ident), LOCAL_KEY).localized(msg.sender, localContext);
        (bytes32 data,) = IPreimageOracle(address(oracle)).readPreimage(key, LENGTH_PREFIX_BYTES);
        return StateRoot.wrap(data);
    }
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IDisputeGame} from "../../../src/dispute/interfaces/IDisputeGame.sol";
import {IGameRegistry} from "../../../src/dispute/interfaces/IGameRegistry.sol";
import {Claim} from "../../../src/dispute/Claim.sol";
import {StateRoot} from "../../../src/dispute/StateRoot.sol";
import {RequestId} from "../../../src/dispute/RequestId.sol";

/// @title A registry that answers what a test wants
contract MockRegistry is IGameRegistry {
    StateRoot public startingRoot;
    uint64 public nodeCount;
    uint64 public splitDepth;
    uint64 public maxGameDepth;
    uint64 public itemCount = 1;
    uint32 public respectedGameType;
    bool public paused;
    bool public isFinal;
    bool public isProper = true;
    bool public anchorReverts;
    uint256 public anchorUpdates;
    bool internal records;
    /// @notice If it was asked to remember it: keccak256 of what the last game recorded of itself: caller and all arguments.
    bytes32 public recorded;

    error NoAnchor();

    function setParameters(StateRoot startingRoot_, uint64 nodeCount_, uint64 splitDepth_, uint64 maxGameDepth_)
        external
    {
        (startingRoot, nodeCount, splitDepth, maxGameDepth) = (startingRoot_, nodeCount_, splitDepth_, maxGameDepth_);
    }

    function setItemCount(uint64 itemCount_) external {
        itemCount = itemCount_;
    }

    function setRespectedGameType(uint32 gameType) external {
        respectedGameType = gameType;
    }

    function setPaused(bool paused_) external {
        paused = paused_;
    }

    function setFinal(bool isFinal_) external {
        isFinal = isFinal_;
    }

    function setProper(bool isProper_) external {
        isProper = isProper_;
    }

    function setAnchorReverts(bool reverts) external {
        anchorReverts = reverts;
    }

    function gameParameters(RequestId) external view returns (StateRoot, uint64, uint64, uint64, uint64) {
        return (startingRoot, nodeCount, splitDepth, maxGameDepth, itemCount);
    }

    function setRecords() external {
        records = true;
    }

    function recordProposal(uint32 gameType, Claim rootClaim, bytes calldata extraData, address proposer) external {
        if (records) recorded = keccak256(abi.encode(msg.sender, gameType, rootClaim, extraData, proposer));
    }

    function isGameFinalized(IDisputeGame) external view returns (bool) {
        return isFinal;
    }

    function isGameProper(IDisputeGame) external view returns (bool) {
        return isProper;
    }

    function setAnchorState(IDisputeGame) external {
        if (anchorReverts) revert NoAnchor();
        ++anchorUpdates;
    }
}

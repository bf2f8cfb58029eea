// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Claim} from "../Claim.sol";
import {RequestId} from "../RequestId.sol";
import {StateRoot} from "../StateRoot.sol";
import {IDisputeGame} from "./IDisputeGame.sol";

/// @title The interface for a game of the contract in the anchor state registry's place
/// @notice It has a game's starting root and depths, and decides whether the game counts.
interface IGameRegistry {
    /// @notice The parameters of a game for a request. All zero if there is no such request.
    /// @return startingRoot The state root S_0.
    /// @return nodeCount Number of nodes n: the root claim asserts S_n.
    /// @return splitDepth The deepest level of the ML phase; 2^splitDepth >= nodeCount.
    /// @return maxGameDepth The deepest level of all; even.
    /// @return itemCount The number of items, 1 to 256: the nodes are those of one after the other, alike for each.
    function gameParameters(RequestId requestId)
        external
        view
        returns (StateRoot startingRoot, uint64 nodeCount, uint64 splitDepth, uint64 maxGameDepth, uint64 itemCount);

    /// @notice Called by a game when it is made, so that it is known who proposed a root claim first.
    /// @param proposer The game's creator.
    function recordProposal(uint32 gameType, Claim rootClaim, bytes calldata extraData, address proposer) external;

    /// @notice The game type that counts.
    function respectedGameType() external view returns (uint32);

    /// @notice Whether the guardian paused the system.
    function paused() external view returns (bool);

    /// @notice Whether the game is resolved and the finality delay is over.
    function isGameFinalized(IDisputeGame game) external view returns (bool);

    /// @notice Whether the factory made the game and the guardian did not discard it. Says nothing about its root claim.
    function isGameProper(IDisputeGame game) external view returns (bool);

    /// @notice Records the game as the first that survived for its request. Reverts unless it is valid and the first.
    function setAnchorState(IDisputeGame game) external;
}

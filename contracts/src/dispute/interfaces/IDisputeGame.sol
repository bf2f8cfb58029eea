// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Claim} from "../Claim.sol";
import {Timestamp} from "../Time.sol";
import {GameStatus} from "../Types.sol";

/// @title The interface of a game for the factory and the registry
/// @dev Source: docs/game.md, "Getters".
interface IDisputeGame {
    /// @notice The game is over.
    event Resolved(GameStatus indexed status);

    /// @notice Called once by the factory, in the transaction that makes the clone, with the root claim's bond.
    function initialize() external payable;

    /// @notice Settles the game by its root claim.
    /// @return status_ The result.
    function resolve() external returns (GameStatus status_);

    /// @notice When the game was made.
    function createdAt() external view returns (Timestamp);

    /// @notice When the game was resolved; 0 while it is in progress.
    function resolvedAt() external view returns (Timestamp);

    function status() external view returns (GameStatus);

    function gameType() external view returns (uint32);

    /// @notice The factory's caller, who is the proposer of the root claim.
    function gameCreator() external view returns (address);

    /// @notice The root claim: the state root that its creator asserts to be S_n.
    function rootClaim() external view returns (Claim);

    /// @notice Hash of the block before the one the game was made in.
    function l1Head() external view returns (bytes32);

    /// @notice The request id, 32 bytes; then the proposal's nonce, 32 bytes, unless it is 0.
    function extraData() external view returns (bytes memory);

    /// @notice The parts of the game's identity.
    function gameData() external view returns (uint32 gameType_, Claim rootClaim_, bytes memory extraData_);

    /// @notice The node count, as the root claim's number for clients that number claims.
    function l2SequenceNumber() external view returns (uint256);

    /// @notice Whether games of this type counted when this one was made.
    function wasRespectedGameTypeWhenCreated() external view returns (bool);

    function version() external view returns (string memory);
}

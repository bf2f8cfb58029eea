// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Claim} from "../Claim.sol";
import {Timestamp} from "../Time.sol";
import {IDisputeGame} from "./IDisputeGame.sol";

/// @title Makes games, and lists them
/// @dev Source: docs/game.md, "The factory".
interface IDisputeGameFactory {
    /// @notice A game as `findLatestGames` finds it.
    struct GameSearchResult {
        /// @notice Place in the list of all games.
        uint256 index;
        /// @notice The game id: type (4 bytes) ++ timestamp (8) ++ address (20).
        bytes32 metadata;
        Timestamp timestamp;
        Claim rootClaim;
        bytes extraData;
    }

    event DisputeGameCreated(address indexed disputeProxy, uint32 indexed gameType, Claim indexed rootClaim);
    event ImplementationSet(address indexed impl, uint32 indexed gameType);
    event ImplementationArgsSet(uint32 indexed gameType, bytes args);
    event InitBondUpdated(uint32 indexed gameType, uint256 indexed newBond);

    /// @notice Makes a game. The value sent must be the type's init bond.
    /// @param rootClaim The caller's claim.
    /// @param extraData The subject of the game: for fault dispute games the request id, and a nonce unless it is 0.
    /// @dev Errors, first that applies: NoImplementation, IncorrectBondAmount, GameAlreadyExists, the game's own.
    function create(uint32 gameType, Claim rootClaim, bytes calldata extraData)
        external
        payable
        returns (IDisputeGame proxy);

    /// @notice The game with this identity, or zeros.
    function games(uint32 gameType, Claim rootClaim, bytes calldata extraData)
        external
        view
        returns (IDisputeGame proxy, Timestamp timestamp);

    /// @notice The index-th game ever made.
    function gameAtIndex(uint256 index) external view returns (uint32 gameType, Timestamp timestamp, IDisputeGame proxy);

    function gameCount() external view returns (uint256);

    /// @notice keccak256(abi.encode(gameType, rootClaim, extraData)).
    function getGameUUID(uint32 gameType, Claim rootClaim, bytes calldata extraData)
        external
        pure
        returns (bytes32 uuid);

    /// @notice The newest `n` games of a type at or below index `start` in the list, newest first.
    function findLatestGames(uint32 gameType, uint256 start, uint256 n)
        external
        view
        returns (GameSearchResult[] memory games_);

    function gameImpls(uint32 gameType) external view returns (IDisputeGame);

    function initBonds(uint32 gameType) external view returns (uint256);

    /// @notice The type's arguments, which every clone gets after its own.
    function gameArgs(uint32 gameType) external view returns (bytes memory);

    /// @notice Owner only. Keeps the type's arguments.
    function setImplementation(uint32 gameType, IDisputeGame impl) external;

    /// @notice Owner only.
    function setImplementation(uint32 gameType, IDisputeGame impl, bytes calldata args) external;

    /// @notice Owner only.
    function setInitBond(uint32 gameType, uint256 initBond) external;

    function version() external view returns (string memory);
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {GameStatus} from "../dispute/Types.sol";
import {IDisputeGame} from "../dispute/interfaces/IDisputeGame.sol";
import {IDisputeGameFactory} from "../dispute/interfaces/IDisputeGameFactory.sol";
import {IInferenceOracle} from "./interfaces/IInferenceOracle.sol";

/// @title Which games count
/// @notice A game that the factory made counts, unless the guardian, this contract's owner, discarded it. The guardian can
///         discard one game, all games until now, or a game type, and can pause; it cannot make a game win.
/// @dev Source: docs/game.md, "Which games count".
abstract contract GameValidity is Ownable, IInferenceOracle {
    /// @inheritdoc IInferenceOracle
    IDisputeGameFactory public immutable disputeGameFactory;
    /// @inheritdoc IInferenceOracle
    uint256 public immutable disputeGameFinalityDelaySeconds;

    bool public paused;
    uint32 public respectedGameType;
    /// @inheritdoc IInferenceOracle
    uint64 public retirementTimestamp;
    mapping(IDisputeGame game => bool) public disputeGameBlacklist;

    /// @dev Games made in the block of this construction, and before, are retired.
    constructor(IDisputeGameFactory factory, uint256 finalityDelay, uint32 gameType, address guardian_)
        Ownable(guardian_)
    {
        disputeGameFactory = factory;
        disputeGameFinalityDelaySeconds = finalityDelay;
        respectedGameType = gameType;
        retirementTimestamp = uint64(block.timestamp);
    }

    // ---------------------------------------------------------------- predicates

    function isGameRegistered(IDisputeGame game) public view returns (bool) {
        (uint32 gameType, bytes32 rootClaim, bytes memory extraData) = game.gameData();
        (IDisputeGame known,) = disputeGameFactory.games(gameType, rootClaim, extraData);
        return known == game;
    }

    function isGameRespected(IDisputeGame game) public view returns (bool) {
        return game.wasRespectedGameTypeWhenCreated();
    }

    function isGameBlacklisted(IDisputeGame game) public view returns (bool) {
        return disputeGameBlacklist[game];
    }

    function isGameRetired(IDisputeGame game) public view returns (bool) {
        return game.createdAt() <= retirementTimestamp;
    }

    function isGameProper(IDisputeGame game) public view returns (bool) {
        return isGameRegistered(game) && !isGameBlacklisted(game) && !isGameRetired(game) && !paused;
    }

    function isGameResolved(IDisputeGame game) public view returns (bool) {
        return game.resolvedAt() != 0 && game.status() != GameStatus.IN_PROGRESS;
    }

    function isGameFinalized(IDisputeGame game) public view returns (bool) {
        return isGameResolved(game) && block.timestamp - game.resolvedAt() > disputeGameFinalityDelaySeconds;
    }

    function isGameClaimValid(IDisputeGame game) public view returns (bool) {
        return isGameProper(game) && isGameRespected(game) && isGameFinalized(game)
            && game.status() == GameStatus.DEFENDER_WINS;
    }

    // ---------------------------------------------------------------- guardian

    function setRespectedGameType(uint32 gameType) external onlyOwner {
        respectedGameType = gameType;
        emit RespectedGameTypeSet(gameType);
    }

    function blacklistDisputeGame(IDisputeGame game) external onlyOwner {
        disputeGameBlacklist[game] = true;
        emit DisputeGameBlacklisted(game);
    }

    function updateRetirementTimestamp() external onlyOwner {
        retirementTimestamp = uint64(block.timestamp);
        emit RetirementTimestampSet(block.timestamp);
    }

    function setPaused(bool paused_) external onlyOwner {
        paused = paused_;
        emit PausedSet(paused_);
    }

    function _checkOwner() internal view override {
        if (owner() != msg.sender) revert AnchorStateRegistry_Unauthorized();
    }
}

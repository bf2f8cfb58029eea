// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {GameStatus} from "../dispute/Types.sol";
import {IDisputeGame} from "../dispute/interfaces/IDisputeGame.sol";
import {IDisputeGameFactory} from "../dispute/interfaces/IDisputeGameFactory.sol";
import {IInferenceOracle} from "./interfaces/IInferenceOracle.sol";

/// @title Which games count
/// @notice A game that the factory made counts, unless the guardian discarded it. The guardian acts at once and can only stop
///         things: discard one game or all games until now, and pause for a while. The owner, meant to be a timelock, says who
///         the guardian is and which game type counts. Neither can make a game win.
/// @dev Source: docs/game.md, "Which games count" and "Roles".
abstract contract GameValidity is Ownable, IInferenceOracle {
    /// @inheritdoc IInferenceOracle
    IDisputeGameFactory public immutable disputeGameFactory;
    /// @inheritdoc IInferenceOracle
    uint256 public immutable disputeGameFinalityDelaySeconds;
    /// @inheritdoc IInferenceOracle
    uint64 public immutable pauseDuration;

    /// @inheritdoc IInferenceOracle
    address public guardian;
    /// @inheritdoc IInferenceOracle
    uint64 public pausedUntil;
    uint32 public respectedGameType;
    /// @inheritdoc IInferenceOracle
    uint64 public retirementTimestamp;
    mapping(IDisputeGame game => bool) public disputeGameBlacklist;

    modifier onlyGuardian() {
        if (msg.sender != guardian) revert AnchorStateRegistry_Unauthorized();
        _;
    }

    /// @dev Games made in the block of this construction, and before, are retired.
    constructor(
        IDisputeGameFactory factory,
        uint256 finalityDelay,
        uint32 gameType,
        address owner_,
        address guardian_,
        uint64 pauseDuration_
    ) Ownable(owner_) {
        disputeGameFactory = factory;
        disputeGameFinalityDelaySeconds = finalityDelay;
        respectedGameType = gameType;
        retirementTimestamp = uint64(block.timestamp);
        guardian = guardian_;
        pauseDuration = pauseDuration_;
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
        return isGameRegistered(game) && !isGameBlacklisted(game) && !isGameRetired(game) && !paused();
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

    function paused() public view returns (bool) {
        return block.timestamp < pausedUntil;
    }

    // ---------------------------------------------------------------- owner

    function setGuardian(address guardian_) external onlyOwner {
        guardian = guardian_;
        emit GuardianSet(guardian_);
    }

    function setRespectedGameType(uint32 gameType) external onlyOwner {
        respectedGameType = gameType;
        emit RespectedGameTypeSet(gameType);
    }

    // ---------------------------------------------------------------- guardian

    function blacklistDisputeGame(IDisputeGame game) external onlyGuardian {
        disputeGameBlacklist[game] = true;
        emit DisputeGameBlacklisted(game);
    }

    function updateRetirementTimestamp() external onlyGuardian {
        retirementTimestamp = uint64(block.timestamp);
        emit RetirementTimestampSet(block.timestamp);
    }

    function setPaused(bool paused_) external onlyGuardian {
        uint64 nowTimestamp = uint64(block.timestamp);
        if (paused_) {
            // INVARIANT: at least one `pauseDuration` lies between two pauses, so no guardian stops payments for ever.
            uint64 earliest = pausedUntil == 0 ? 0 : pausedUntil + pauseDuration;
            if (nowTimestamp < earliest) revert PauseTooEarly(nowTimestamp, earliest);
            pausedUntil = nowTimestamp + pauseDuration;
        } else if (nowTimestamp < pausedUntil) {
            pausedUntil = nowTimestamp;
        }
        emit PausedSet(paused_);
    }

    function _checkOwner() internal view override {
        if (owner() != msg.sender) revert AnchorStateRegistry_Unauthorized();
    }
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Claim} from "../dispute/Claim.sol";
import {Duration, Duration256, Timestamp, Timestamp256, currentTimestamp} from "../dispute/Time.sol";
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
    Duration256 public immutable disputeGameFinalityDelaySeconds;
    /// @inheritdoc IInferenceOracle
    Duration public immutable pauseDuration;

    /// @inheritdoc IInferenceOracle
    address public guardian;
    /// @inheritdoc IInferenceOracle
    Timestamp public pausedUntil;
    uint32 public respectedGameType;
    /// @inheritdoc IInferenceOracle
    Timestamp public retirementTimestamp;
    mapping(IDisputeGame game => bool) public disputeGameBlacklist;

    modifier onlyGuardian() {
        if (msg.sender != guardian) revert AnchorStateRegistry_Unauthorized();
        _;
    }

    /// @dev Games made in the block of this construction, and before, are retired.
    constructor(
        IDisputeGameFactory factory,
        Duration256 finalityDelay,
        uint32 gameType,
        address owner_,
        address guardian_,
        Duration pauseDuration_
    ) Ownable(owner_) {
        disputeGameFactory = factory;
        disputeGameFinalityDelaySeconds = finalityDelay;
        respectedGameType = gameType;
        retirementTimestamp = currentTimestamp();
        guardian = guardian_;
        pauseDuration = pauseDuration_;
    }

    // ---------------------------------------------------------------- predicates

    function isGameRegistered(IDisputeGame game) public view returns (bool) {
        (uint32 gameType, Claim rootClaim, bytes memory extraData) = game.gameData();
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
        return game.createdAt().raw() <= retirementTimestamp.raw();
    }

    function isGameProper(IDisputeGame game) public view returns (bool) {
        return isGameRegistered(game) && !isGameBlacklisted(game) && !isGameRetired(game) && !paused();
    }

    function isGameResolved(IDisputeGame game) public view returns (bool) {
        return game.resolvedAt().raw() != 0 && game.status() != GameStatus.IN_PROGRESS;
    }

    function isGameFinalized(IDisputeGame game) public view returns (bool) {
        return isGameResolved(game) && block.timestamp - game.resolvedAt().raw() > disputeGameFinalityDelaySeconds.raw();
    }

    function isGameClaimValid(IDisputeGame game) public view returns (bool) {
        return isGameProper(game) && isGameRespected(game) && isGameFinalized(game)
            && game.status() == GameStatus.DEFENDER_WINS;
    }

    function paused() public view returns (bool) {
        return block.timestamp < pausedUntil.raw();
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
        retirementTimestamp = currentTimestamp();
        emit RetirementTimestampSet(Timestamp256.wrap(block.timestamp));
    }

    function setPaused(bool paused_) external onlyGuardian {
        Timestamp now_ = currentTimestamp();
        if (paused_) {
            // INVARIANT: at least one `pauseDuration` lies between two pauses, so no guardian stops payments for ever.
            Timestamp earliest = pausedUntil.raw() == 0 ? pausedUntil : pausedUntil.plus(pauseDuration);
            if (now_.raw() < earliest.raw()) revert PauseTooEarly(now_.raw(), earliest.raw());
            pausedUntil = now_.plus(pauseDuration);
        } else if (now_.raw() < pausedUntil.raw()) {
            pausedUntil = now_;
        }
        emit PausedSet(paused_);
    }

    function _checkOwner() internal view override {
        if (owner() != msg.sender) revert AnchorStateRegistry_Unauthorized();
    }
}

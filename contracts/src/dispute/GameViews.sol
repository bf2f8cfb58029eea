// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {BondTerms} from "./Bond.sol";
import {Claim} from "./Claim.sol";
import {Clock, newClock} from "./Clock.sol";
import {GameDepthExceeded} from "./Errors.sol";
import {GameState} from "./GameState.sol";
import {PackedClaim} from "./PackedClaim.sol";
import {PackedGame} from "./PackedGame.sol";
import {NO_POSITION, Position} from "./Position.sol";
import {StateRoot} from "./StateRoot.sol";
import {Duration, Timestamp} from "./Time.sol";
import {Account, BondDistributionMode, GameStatus} from "./Types.sol";

/// @title What clients ask a game
/// @notice The getters of the published game, answered from what this one stores.
/// @dev Source: docs/game.md, "Claims" and "Getters".
abstract contract GameViews is GameState {
    // ------------------------------------------------------------------------------------------------ claims

    function claimData(uint256 index)
        external
        view
        returns (
            uint32 parentIndex,
            address counteredBy,
            address claimant,
            uint128 bond,
            Claim claim,
            Position position,
            Clock clock
        )
    {
        PackedGame game = packedGame;
        if (index >= game.claimCount()) revert(); // as the published game's array getter: without data
        PackedClaim packed = _packed(index);
        clock = newClock(Duration.wrap(packed.timeUsed()), game.createdAt().plus(Duration.wrap(packed.postedAfter())));
        return (
            packed.parentIndex(),
            _counteredBy(index, packed, game),
            _player(packed.claimant()),
            uint128(_bondOf(index, packed, game)),
            _valueOf(index),
            packed.position(),
            clock
        );
    }

    function claimDataLen() external view returns (uint256) {
        return packedGame.claimCount();
    }

    /// @dev Looked for among all claims: a first answer has no entry under its key.
    function claims(bytes32 key) external view returns (bool) {
        uint256 count = packedGame.claimCount();
        for (uint256 i = 1; i < count; ++i) {
            PackedClaim claim = _packed(i);
            if (_claimKey(_valueOf(i), claim.position(), claim.parentIndex()) == key) return true;
        }
        return false;
    }

    function subgames(uint256 claimIndex, uint256 n) external view returns (uint256) {
        PackedGame game = packedGame;
        if (claimIndex >= game.claimCount()) revert(); // as the published game's array getters: without data
        PackedClaim claim = _packed(claimIndex);
        if (n >= _answerCount(claimIndex, claim, game)) revert();
        return n == 0 ? _firstAnswer(claimIndex, claim, game) : moreAnswers[claimIndex].at(n - 1);
    }

    function resolvedSubgames(uint256 claimIndex) external view returns (bool) {
        return claimIndex < packedGame.claimCount() && _packed(claimIndex).isResolved();
    }

    function resolutionCheckpoints(uint256 claimIndex)
        external
        view
        returns (bool initialCheckpointComplete, uint32 subgameIndex, Position leftmostPosition, address counteredBy)
    {
        PackedGame game = packedGame;
        if (claimIndex >= game.claimCount() || !_packed(claimIndex).isResolutionStarted()) {
            return (false, 0, NO_POSITION, address(0));
        }
        PackedClaim claim = _packed(claimIndex);
        uint32 winner = _winner(claimIndex, claim, game);
        return (true, uint32(_answersProcessed(claimIndex, claim, game)), _placeOf(winner), _claimantOf(winner));
    }

    function getNumToResolve(uint256 claimIndex) external view returns (uint256) {
        PackedGame game = packedGame;
        if (claimIndex >= game.claimCount()) return 0;
        PackedClaim claim = _packed(claimIndex);
        return _answerCount(claimIndex, claim, game) - _answersProcessed(claimIndex, claim, game);
    }

    /// @dev The position of an answer; one to the right of all positions if the index is 0.
    function _placeOf(uint32 answerIndex) internal view returns (Position) {
        return answerIndex == 0 ? Position.wrap(type(uint128).max) : _packed(answerIndex).position();
    }

    // ------------------------------------------------------------------------------------------------ money

    function getRequiredBond(Position position) external view returns (uint256) {
        // NO_POSITION has no depth; the published game answers for it as for the root.
        uint256 depth = position.raw() == NO_POSITION.raw() ? 0 : position.depth();
        PackedGame game = packedGame;
        if (depth > game.maxDepth()) revert GameDepthExceeded();
        return _bondAt(depth, game);
    }

    function bondTerms() external view returns (BondTerms memory) {
        return BondTerms({
            assumedBaseFee: uint64(ASSUMED_BASE_FEE),
            gasAtRoot: uint64(GAS_AT_ROOT),
            gasAtMaxDepth: uint64(GAS_AT_MAX_DEPTH),
            forfeitedBps: uint16(FORFEITED_BPS),
            forfeitedTo: FORFEITED_TO,
            depositedAtOnce: DEPOSITED_AT_ONCE
        });
    }

    function credit(address recipient) public view returns (uint256) {
        if (packedGame.mode() != BondDistributionMode.REFUND) return normalModeCredit(recipient);
        Account storage account = accounts[recipient];
        return account.isPaid ? 0 : account.paid; // every claim is settled, see `refundModeCredit`
    }

    function normalModeCredit(address recipient) public view returns (uint256) {
        Account storage account = accounts[recipient];
        if (account.isPaid) return 0;
        return recipient == FORFEITED_TO ? account.awarded + totalForfeited : account.awarded;
    }

    /// @dev What a claim paid is noted when it is settled. Until then it is looked for among all claims. A game ends with
    ///      all its claims settled, so nothing that pays asks this.
    function refundModeCredit(address recipient) external view returns (uint256) {
        if (accounts[recipient].isPaid) return 0;
        uint256 amount = accounts[recipient].paid;
        PackedGame game = packedGame;
        uint256 count = game.claimCount();
        for (uint256 i = 0; i < count; ++i) {
            PackedClaim claim = _packed(i);
            if (!claim.isResolved() && _player(claim.claimant()) == recipient) amount += _bondOf(i, claim, game);
        }
        return amount;
    }

    function forfeitOf(uint256 claimIndex) external view returns (address counteredBy, uint256 amount) {
        PackedGame game = packedGame;
        PackedClaim claim = _claimAt(claimIndex, game);
        if (!claim.isResolved() || !claim.isCountered()) return (address(0), 0);
        return (_counteredBy(claimIndex, claim, game), _forfeitedPart(_bondOf(claimIndex, claim, game)));
    }

    function hasUnlockedCredit(address recipient) external view returns (bool) {
        return accounts[recipient].isUnlocked;
    }

    // ------------------------------------------------------------------------------------------------ the game

    function status() external view returns (GameStatus) {
        return packedGame.status();
    }

    function bondDistributionMode() external view returns (BondDistributionMode) {
        return packedGame.mode();
    }

    function wasRespectedGameTypeWhenCreated() external view returns (bool) {
        return packedGame.wasRespected();
    }

    function createdAt() external view returns (Timestamp) {
        return packedGame.createdAt();
    }

    function resolvedAt() external view returns (Timestamp) {
        return packedGame.resolvedAt();
    }

    function nodeCount() external view returns (uint64) {
        return packedGame.nodeCount();
    }

    function itemCount() external view returns (uint256) {
        return packedGame.itemCount();
    }

    function maxGameDepth() external view returns (uint256) {
        return packedGame.maxDepth();
    }

    function splitDepth() external view returns (uint256) {
        return packedGame.splitDepth();
    }

    function l2BlockNumber() external view returns (uint256) {
        return packedGame.nodeCount();
    }

    function l2SequenceNumber() external view returns (uint256) {
        return packedGame.nodeCount();
    }

    function startingBlockNumber() external pure returns (uint256) {
        return 0;
    }

    function startingSequenceNumber() external pure returns (uint256) {
        return 0;
    }

    function startingOutputRoot() external view returns (StateRoot root, uint256 sequenceNumber) {
        return (startingRootHash, 0);
    }

    function l2BlockNumberChallenged() external pure returns (bool) {
        return false;
    }

    function l2BlockNumberChallenger() external pure returns (address) {
        return address(0);
    }

    /// @notice The published game whose interface this one has.
    function version() external pure returns (string memory) {
        return "2.4.2";
    }
}

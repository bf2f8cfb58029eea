// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {AnswerList} from "./AnswerList.sol";
import {ALL_BPS, Bond, BondTerms, MAX_FORFEITED_BPS} from "./Bond.sol";
import {Claim} from "./Claim.sol";
import {ClaimAlreadyExists, GameNotInProgress, InvalidBondTerms, TooManyClaims} from "./Errors.sol";
import {GameArguments} from "./GameArguments.sol";
import {NO_PARENT, PackedClaim} from "./PackedClaim.sol";
import {PackedGame} from "./PackedGame.sol";
import {Position} from "./Position.sol";
import {StateRoot} from "./StateRoot.sol";
import {Account, GameStatus, StoredClaim} from "./Types.sol";
import {IFaultDisputeGame} from "./interfaces/IFaultDisputeGame.sol";

/// @title The storage of a game, packed
/// @notice Most claims have one answer, which is the next claim, and are settled in one call. So a claim has room for the
///         outcome; what others need (further answers, their keys, pages) is stored separately. Nothing is stored that
///         follows from what is: bonds, what an unsettled claim paid, the root claim.
/// @dev Source: docs/game.md, "Claims".
abstract contract GameState is GameArguments {
    uint256 internal immutable ASSUMED_BASE_FEE;
    uint256 internal immutable GAS_AT_ROOT;
    uint256 internal immutable GAS_AT_MAX_DEPTH;
    uint256 internal immutable LN_GROWTH_WAD;
    uint256 internal immutable FORFEITED_BPS;
    address internal immutable FORFEITED_TO;
    bool internal immutable DEPOSITED_AT_ONCE;

    PackedGame internal packedGame;

    /// @inheritdoc IFaultDisputeGame
    StateRoot public startingRootHash;

    /// @inheritdoc IFaultDisputeGame
    uint256 public totalForfeited;

    mapping(uint256 claimIndex => AnswerList) internal moreAnswers;
    /// @dev Keys of all answers but the first to each claim.
    mapping(bytes32 key => bool) internal isLaterAnswer;
    mapping(address => Account) internal accounts;
    /// @dev Addresses by their numbers, from 1.
    mapping(uint256 number => address) internal players;

    /// @dev As many as the game's claim count are in use. The array has the length of an index's range, so that no access reads
    ///      the length.
    StoredClaim[NO_PARENT] internal claimList;

    /// @dev `terms` are refused if a bond could not be computed with them: no growth of more than e^44, or 2^64.
    constructor(BondTerms memory terms) {
        if (terms.gasAtRoot == 0 || terms.gasAtMaxDepth < terms.gasAtRoot) revert InvalidBondTerms();
        if (terms.forfeitedBps > MAX_FORFEITED_BPS || terms.forfeitedTo == address(0)) revert InvalidBondTerms();
        ASSUMED_BASE_FEE = terms.assumedBaseFee;
        GAS_AT_ROOT = terms.gasAtRoot;
        GAS_AT_MAX_DEPTH = terms.gasAtMaxDepth;
        LN_GROWTH_WAD = Bond.logarithmOfGrowth(terms.gasAtRoot, terms.gasAtMaxDepth);
        FORFEITED_BPS = terms.forfeitedBps;
        FORFEITED_TO = terms.forfeitedTo;
        DEPOSITED_AT_ONCE = terms.depositedAtOnce;
    }

    function _gameInProgress() internal view returns (PackedGame game) {
        game = packedGame;
        if (game.status() != GameStatus.IN_PROGRESS) revert GameNotInProgress();
    }

    // ------------------------------------------------------------------------------------------------ claims

    /// @dev The claim at an index that a caller gave: Panic(0x32) if there is none.
    function _claimAt(uint256 index, PackedGame game) internal view returns (PackedClaim) {
        return claimList[index < game.claimCount() ? index : NO_PARENT].packed; // NO_PARENT is the array's length
    }

    /// @dev The claim at an index that the game holds.
    function _packed(uint256 index) internal view returns (PackedClaim) {
        return claimList[index].packed;
    }

    /// @dev The 32 bytes that the claim at an index asserts.
    function _valueOf(uint256 index) internal view returns (Claim) {
        return index == 0 ? rootClaim() : claimList[index].claim;
    }

    /// @dev The account that countered a claim: by a step at the maximum depth, above it by the answer that won its
    ///      subgame. Zero if there is none.
    function _counteredBy(uint256 index, PackedClaim claim, PackedGame game) internal view returns (address) {
        if (_isDeepest(claim, game)) return claim.answer() == 0 ? address(0) : _player(claim.answer() - 1);
        // Until the claim is resolved, another answer can still win.
        return claim.isResolved() ? _claimantOf(_winner(index, claim, game)) : address(0);
    }

    /// @dev Whether an answer or a step countered the claim at an index, which is resolved.
    function _isCountered(PackedClaim claim, PackedGame game) internal pure returns (bool) {
        return _isDeepest(claim, game) ? claim.answer() != 0 : claim.isCountered();
    }

    /// @dev Whether the claim stands at the maximum depth, where it can be stepped against, and not answered.
    function _isDeepest(PackedClaim claim, PackedGame game) internal pure returns (bool) {
        return claim.position().raw() >> game.maxDepth() != 0;
    }

    /// @dev Of the processed answers to a claim, the leftmost, earliest one that stands; 0 if there is none.
    function _winner(uint256 index, PackedClaim claim, PackedGame game) internal view returns (uint32) {
        if (!claim.isCountered()) return 0;
        return claim.isCounteredLater() ? moreAnswers[index].winner() : _firstAnswer(index, claim, game);
    }

    /// @dev Who posted the answer at `answerIndex`; zero if that is 0, for claim 0 answers nothing.
    function _claimantOf(uint32 answerIndex) internal view returns (address) {
        return answerIndex == 0 ? address(0) : _player(_packed(answerIndex).claimant());
    }

    /// @dev The first answer to a claim; 0 if there is none. If it was the next claim that was made, it is found there: in
    ///      most games that is so, and saves writing it down.
    function _firstAnswer(uint256 index, PackedClaim claim, PackedGame game) internal view returns (uint32) {
        if (claim.answer() != 0) return _isDeepest(claim, game) ? 0 : claim.answer();
        uint256 next = index + 1;
        return next < game.claimCount() && _packed(next).parentIndex() == index ? uint32(next) : 0;
    }

    function _answerCount(uint256 index, PackedClaim claim, PackedGame game) internal view returns (uint256) {
        if (claim.hasMoreAnswers()) return 1 + moreAnswers[index].length();
        return _firstAnswer(index, claim, game) == 0 ? 0 : 1;
    }

    /// @dev Number of answers that `resolveClaim` has processed.
    function _answersProcessed(uint256 index, PackedClaim claim, PackedGame game) internal view returns (uint256) {
        if (!claim.isResolutionStarted()) return 0;
        // One answer is processed with the claim.
        return claim.isResolved() ? _answerCount(index, claim, game) : moreAnswers[index].processed();
    }

    /// @dev Enters the claim that is about to be added to the game among the answers to `parentIndex`, unless it stands there
    ///      already.
    function _enlist(PackedGame game, Claim claim, Position position, uint256 parentIndex, PackedClaim parent)
        internal
    {
        uint32 index = game.claimCount();
        uint32 firstAnswer = _firstAnswer(parentIndex, parent, game);
        if (firstAnswer == 0) {
            if (index != parentIndex + 1) claimList[parentIndex].packed = parent.withAnswer(index);
            return;
        }
        // Most claims have one answer: it is compared itself, so that only those after it need an entry of their own.
        bytes32 key = _claimKey(claim, position, parentIndex);
        bool isFirst = claimList[firstAnswer].claim == claim && _packed(firstAnswer).position().raw() == position.raw();
        if (isFirst || isLaterAnswer[key]) revert ClaimAlreadyExists();
        isLaterAnswer[key] = true;
        if (!parent.hasMoreAnswers()) claimList[parentIndex].packed = parent.withMoreAnswers();
        moreAnswers[parentIndex].push(index);
    }

    function _claimKey(Claim claim, Position position, uint256 parentIndex) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(claim, position, uint128(parentIndex)));
    }

    // ------------------------------------------------------------------------------------------------ bonds

    /// @dev The bond of a claim at `depth`, in wei.
    function _bondAt(uint256 depth, PackedGame game) internal view returns (uint256) {
        return Bond.required(depth, game.maxDepth(), ASSUMED_BASE_FEE, GAS_AT_ROOT, LN_GROWTH_WAD);
    }

    /// @dev A claim's stake, in wei.
    function _bondOf(uint256 index, PackedClaim claim, PackedGame game) internal view returns (uint256) {
        return index == 0 ? claim.rootBond() : _bondAt(claim.position().depth(), game);
    }

    /// @dev The part of a lost bond that no winner gets, in wei.
    function _forfeitedPart(uint256 bond) internal view returns (uint256) {
        return bond * FORFEITED_BPS / ALL_BPS;
    }

    // ------------------------------------------------------------------------------------------------ players

    /// @dev The address of the player with this number.
    function _player(uint256 number) internal view returns (address) {
        return number == 0 ? gameCreator() : players[number];
    }

    /// @dev The number of an account that makes a claim or a step: its old one, or the next.
    /// @return number The number.
    /// @return with The game, with one player more if it is a new one; the caller stores it.
    function _numberOf(address player, PackedGame game) internal returns (uint32 number, PackedGame with) {
        if (player == gameCreator()) return (0, game);
        number = accounts[player].number;
        if (number != 0) return (number, game);
        number = game.playerCount() + 1;
        // INVARIANT: one more than a number fits 32 bits, as PackedClaim has for who made a step.
        if (number == type(uint32).max) revert TooManyClaims();
        accounts[player].number = number;
        players[number] = player;
        return (number, game.withPlayer());
    }
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {AnswerList} from "./AnswerList.sol";
import {Bond, BondTerms, MAX_FORFEITED_BPS} from "./Bond.sol";
import {Claim} from "./Claim.sol";
import {Clock, newClock} from "./Clock.sol";
import {ClaimAlreadyExists, GameDepthExceeded, InvalidBondTerms} from "./Errors.sol";
import {GameArguments} from "./GameArguments.sol";
import {Position, NO_POSITION} from "./Position.sol";
import {StateRoot} from "./StateRoot.sol";
import {StoredTimestamp, Timestamp} from "./Time.sol";
import {Account, BondDistributionMode, GameStatus, StoredClaim} from "./Types.sol";
import {IFaultDisputeGame} from "./interfaces/IFaultDisputeGame.sol";

/// @title The storage of a game, packed, and the getters of the published game
/// @notice Most claims have one answer and are settled in one call. So a claim has room for one answer and for the
///      outcome; the data of the others (further answers, their keys, pages) are stored separately.
/// @dev Source: docs/game.md, "Claims".
abstract contract GameState is GameArguments {
    /// @dev The index that stands for "no parent".
    uint32 internal constant NO_PARENT = 2 ** 32 - 1;

    uint256 internal immutable ASSUMED_BASE_FEE;
    uint256 internal immutable GAS_AT_ROOT;
    uint256 internal immutable GAS_AT_MAX_DEPTH;
    uint256 internal immutable LN_GROWTH_WAD;
    uint256 internal immutable FORFEITED_BPS;
    address internal immutable FORFEITED_TO;

    // One word, which every call reads and most change.
    GameStatus public status;
    bool internal initialized;
    bool public wasRespectedGameTypeWhenCreated;
    BondDistributionMode public bondDistributionMode;
    uint8 internal splitDepth_;
    uint8 internal maxGameDepth_;
    uint32 internal claimCount;
    StoredTimestamp internal resolvedAt_;
    Timestamp public createdAt;
    uint64 public nodeCount;
    /// @dev One less than the number of items.
    uint8 internal furtherItems;

    /// @inheritdoc IFaultDisputeGame
    StateRoot public startingRootHash;

    /// @dev The root claim's bond less that of depth 0, modulo 2^256: 0 unless the factory asks for another.
    uint256 internal rootBondOffset;

    mapping(uint256 claimIndex => AnswerList) internal moreAnswers;
    /// @dev Keys of all answers but the first to each claim.
    mapping(bytes32 key => bool) internal isLaterAnswer;
    /// @dev The number of processed answers, for claims whose resolution has started and is not complete.
    mapping(uint256 claimIndex => uint256) internal answersLookedAt;
    mapping(address => Account) internal accounts;

    /// @dev The first `claimCount` are in use. The array has the length of an index's range, so that no access reads
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
    }

    // ------------------------------------------------------------------------------------------------ claims

    /// @dev The claim at an index that a caller gave: Panic(0x32) if there is none.
    function _claimAt(uint256 index) internal view returns (StoredClaim storage) {
        return claimList[index < claimCount ? index : NO_PARENT]; // NO_PARENT is the array's length
    }

    /// @dev The account that countered a claim: by a step at the maximum depth, above it by the answer that won its
    ///      subgame.
    function _counteredBy(StoredClaim storage claim) internal view returns (address) {
        if (claim.position.depth() == maxGameDepth_) return claim.stepper;
        uint32 winner = claim.winningAnswer;
        // Until the claim is resolved, another answer can still win.
        return winner != 0 && claim.isResolved ? claimList[winner].claimant : address(0);
    }

    /// @dev The bond of a claim at `depth`, in wei.
    function _bondAt(uint256 depth) internal view returns (uint256) {
        return Bond.required(depth, maxGameDepth_, ASSUMED_BASE_FEE, GAS_AT_ROOT, LN_GROWTH_WAD);
    }

    /// @dev A claim's stake, in wei.
    function _bondOf(uint256 index) internal view returns (uint256) {
        uint256 bond = _bondAt(claimList[index].position.depth());
        if (index != 0) return bond;
        unchecked {
            return bond + rootBondOffset;
        }
    }

    function _answerCount(uint256 index) internal view returns (uint256) {
        StoredClaim storage claim = claimList[index];
        if (claim.firstAnswer == 0) return 0;
        return claim.hasMoreAnswers ? 1 + moreAnswers[index].length() : 1;
    }

    /// @param n Below `_answerCount(index)`.
    function _answerAt(uint256 index, uint256 n) internal view returns (uint32) {
        return n == 0 ? claimList[index].firstAnswer : moreAnswers[index].at(n - 1);
    }

    /// @dev The position of a claim; one to the right of all positions if the index is 0.
    function _placeOf(uint32 answerIndex) internal view returns (Position) {
        return answerIndex == 0 ? Position.wrap(type(uint128).max) : claimList[answerIndex].position;
    }

    /// @dev Enters the claim that is about to be added among the answers to `parentIndex`, unless it stands there already.
    function _enlist(StoredClaim storage parent, uint256 parentIndex, Claim claim, Position position) internal {
        uint32 firstAnswer = parent.firstAnswer;
        if (firstAnswer == 0) {
            parent.firstAnswer = claimCount;
            return;
        }
        // Most claims have one answer: it is compared itself, so that only those after it need an entry of their own.
        StoredClaim storage first = claimList[firstAnswer];
        bytes32 key = _claimKey(claim, position, parentIndex);
        bool isFirst = first.claim == claim && first.position.raw() == position.raw();
        if (isFirst || isLaterAnswer[key]) revert ClaimAlreadyExists();
        isLaterAnswer[key] = true;
        if (!parent.hasMoreAnswers) parent.hasMoreAnswers = true;
        moreAnswers[parentIndex].push(claimCount);
    }

    function _claimKey(Claim claim, Position position, uint256 parentIndex) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(claim, position, uint128(parentIndex)));
    }

    // ------------------------------------------------------------------------------------------------ what clients ask

    function getRequiredBond(Position position) external view returns (uint256) {
        // NO_POSITION has no depth; the published game answers for it as for the root.
        uint256 depth = position.raw() == NO_POSITION.raw() ? 0 : position.depth();
        if (depth > maxGameDepth_) revert GameDepthExceeded();
        return _bondAt(depth);
    }

    function bondTerms() external view returns (BondTerms memory) {
        return BondTerms({
            assumedBaseFee: uint64(ASSUMED_BASE_FEE),
            gasAtRoot: uint64(GAS_AT_ROOT),
            gasAtMaxDepth: uint64(GAS_AT_MAX_DEPTH),
            forfeitedBps: uint16(FORFEITED_BPS),
            forfeitedTo: FORFEITED_TO
        });
    }

    function getNumToResolve(uint256 claimIndex) external view returns (uint256) {
        return claimIndex < claimCount ? _answerCount(claimIndex) - _answersLookedAt(claimIndex) : 0;
    }

    /// @dev Number of answers that `resolveClaim` has processed.
    function _answersLookedAt(uint256 claimIndex) internal view returns (uint256) {
        StoredClaim storage claim = claimList[claimIndex];
        if (!claim.resolutionStarted) return 0;
        return claim.isResolved ? _answerCount(claimIndex) : answersLookedAt[claimIndex];
    }

    function resolutionCheckpoints(uint256 claimIndex)
        external
        view
        returns (bool initialCheckpointComplete, uint32 subgameIndex, Position leftmostPosition, address counteredBy)
    {
        if (claimIndex >= claimCount || !claimList[claimIndex].resolutionStarted) {
            return (false, 0, NO_POSITION, address(0));
        }
        uint32 winner = claimList[claimIndex].winningAnswer;
        counteredBy = winner == 0 ? address(0) : claimList[winner].claimant;
        return (true, uint32(_answersLookedAt(claimIndex)), _placeOf(winner), counteredBy);
    }

    function resolvedSubgames(uint256 claimIndex) external view returns (bool) {
        return claimIndex < claimCount && claimList[claimIndex].isResolved;
    }

    function subgames(uint256 claimIndex, uint256 n) external view returns (uint256) {
        if (claimIndex >= claimCount || n >= _answerCount(claimIndex)) revert();
        return _answerAt(claimIndex, n);
    }

    /// @dev Answers other than the first have an entry; a first one is looked for among all claims.
    function claims(bytes32 key) external view returns (bool) {
        if (isLaterAnswer[key]) return true;
        for (uint256 i = 1; i < claimCount; ++i) {
            StoredClaim storage claim = claimList[i];
            if (_claimKey(claim.claim, claim.position, claim.parentIndex) == key) return true;
        }
        return false;
    }

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
        if (index >= claimCount) revert(); // as the published game's array getter: without data
        StoredClaim storage c = claimList[index];
        clock = newClock(c.timeUsed, c.postedAt.full());
        return (c.parentIndex, _counteredBy(c), c.claimant, uint128(_bondOf(index)), c.claim, c.position, clock);
    }

    function claimDataLen() external view returns (uint256) {
        return claimCount;
    }

    function resolvedAt() external view returns (Timestamp) {
        return resolvedAt_.full();
    }

    function credit(address recipient) public view returns (uint256) {
        Account storage account = accounts[recipient];
        return bondDistributionMode == BondDistributionMode.REFUND ? account.paid : account.awarded;
    }

    function normalModeCredit(address recipient) external view returns (uint256) {
        return accounts[recipient].awarded;
    }

    function refundModeCredit(address recipient) external view returns (uint256) {
        return accounts[recipient].paid;
    }

    function hasUnlockedCredit(address recipient) external view returns (bool) {
        return accounts[recipient].isUnlocked;
    }

    function itemCount() public view returns (uint256) {
        return uint256(furtherItems) + 1;
    }

    function maxGameDepth() external view returns (uint256) {
        return maxGameDepth_;
    }

    function splitDepth() external view returns (uint256) {
        return splitDepth_;
    }
}

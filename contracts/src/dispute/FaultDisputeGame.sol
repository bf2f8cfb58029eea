// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {StateHash, VmStatus} from "../vm/StateHash.sol";
import {BondTerms} from "./Bond.sol";
import {Claim} from "./Claim.sol";
import {newClock} from "./Clock.sol";
import {DisputedStates} from "./DisputedStates.sol";
import "./Errors.sol";
import {GameState} from "./GameState.sol";
import {GameViews} from "./GameViews.sol";
import {NO_PARENT, PackedClaim, packClaim, packRootClaim} from "./PackedClaim.sol";
import {PackedGame, packGame} from "./PackedGame.sol";
import {MAX_POSITION_DEPTH, Position, ROOT_POSITION} from "./Position.sol";
import {StateRoot} from "./StateRoot.sol";
import {Duration, currentTimestamp} from "./Time.sol";
import {Account, BondDistributionMode, GameLimits, GameStatus} from "./Types.sol";
import {IFaultDisputeGame} from "./interfaces/IFaultDisputeGame.sol";

/// @title FaultDisputeGame
/// @notice See IFaultDisputeGame. In order: making a game; moves; steps; resolution; paying out; clocks.
/// @dev Source: docs/game.md.
contract FaultDisputeGame is GameViews, DisputedStates {
    /// @inheritdoc IFaultDisputeGame
    Duration public immutable maxClockDuration;
    /// @inheritdoc IFaultDisputeGame
    Duration public immutable clockExtension;

    /// @dev Limits of the depths that a request may ask for.
    uint256 internal immutable MAX_DEPTH_LIMIT;
    uint256 internal immutable SPLIT_DEPTH_LIMIT;

    /// @dev The least depth at which execution subgames begin: two levels of state roots above them.
    uint256 internal constant MIN_SPLIT_DEPTH = 2;

    /// @dev What `_tryResolve` answers if it did something; no error has this selector.
    bytes4 internal constant NOTHING_REFUSED = 0;

    // ------------------------------------------------------------------------------------------------ making a game

    /// @param limits What this type's games may look like.
    /// @param terms What their claims cost.
    constructor(GameLimits memory limits, BondTerms memory terms) GameState(terms) {
        if (limits.maxGameDepth > MAX_POSITION_DEPTH) revert MaxDepthTooLarge();
        if (limits.splitDepth == type(uint256).max || limits.splitDepth + 1 >= limits.maxGameDepth) {
            revert InvalidSplitDepth();
        }
        if (limits.splitDepth < MIN_SPLIT_DEPTH) revert InvalidSplitDepth();
        // The extension at the split depth is twice the others.
        if (uint256(limits.clockExtension.raw()) * 2 > limits.maxClockDuration.raw()) revert InvalidClockExtension();
        MAX_DEPTH_LIMIT = limits.maxGameDepth;
        SPLIT_DEPTH_LIMIT = limits.splitDepth;
        clockExtension = limits.clockExtension;
        maxClockDuration = limits.maxClockDuration;
    }

    /// @dev Errors, first that applies: AlreadyInitialized, BadExtraData, AnchorRootNotFound, UnexpectedRootClaim,
    ///      MaxDepthTooLarge, OddMaxDepth, InvalidSplitDepth, InvalidChallengePeriod, InvalidClockExtension.
    function initialize() external payable {
        if (packedGame.claimCount() != 0) revert AlreadyInitialized();
        if (!_isExtraDataCanonical()) revert BadExtraData();

        PackedGame game = _readParameters();

        // A step at the bottom may first have to wait until a large pre-image can be used.
        uint256 challengePeriod = vm().oracle().challengePeriod();
        if (challengePeriod > type(uint64).max) revert InvalidChallengePeriod();
        if (clockExtension.raw() + challengePeriod > maxClockDuration.raw()) revert InvalidClockExtension();

        emit Proposed(
            requestId(),
            rootClaim(),
            gameCreator(),
            game.nodeCount(),
            uint64(game.splitDepth()),
            uint64(game.maxDepth())
        );
        if (msg.value > type(uint96).max) revert IncorrectBondAmount();
        packedGame = game.withClaim();
        claimList[0].packed = packRootClaim(uint96(msg.value));
        _stake(0, NO_PARENT, gameCreator(), rootClaim(), ROOT_POSITION, Duration.wrap(0));
        anchorStateRegistry().recordProposal(gameType(), rootClaim(), extraData(), gameCreator());
    }

    /// @dev Reads once and for all where the trace starts and how deep the game goes.
    function _readParameters() internal returns (PackedGame) {
        (StateRoot startingRoot, uint64 nodes, uint64 split, uint64 max, uint64 items) =
            anchorStateRegistry().gameParameters(requestId());
        if (startingRoot.isZero()) revert AnchorRootNotFound();
        if (nodes == 0) revert UnexpectedRootClaim(rootClaim());
        if (max > MAX_DEPTH_LIMIT) revert MaxDepthTooLarge();
        // INVARIANT: the deepest claims belong to the root claim's side, so a lie there falls by a step, which the chain
        // executes, and not only by the clock.
        if (max % 2 != 0) revert OddMaxDepth(max);
        if (split < MIN_SPLIT_DEPTH || split > SPLIT_DEPTH_LIMIT || split + 1 >= max) revert InvalidSplitDepth();
        // INVARIANT: the last leaf of the ML phase is S_n, so the root claim speaks about the whole inference.
        if (nodes > uint256(1) << split) revert InvalidSplitDepth();

        startingRootHash = startingRoot;
        bool isRespected = anchorStateRegistry().respectedGameType() == gameType();
        // ASSUMES: 1 to 256 items. The depths are at most MAX_POSITION_DEPTH.
        return packGame(uint8(split), uint8(max), nodes, items, isRespected);
    }

    // ------------------------------------------------------------------------------------------------ moves

    function attack(Claim disputed, uint256 parentIndex, Claim claim) external payable {
        move(disputed, parentIndex, claim, true);
    }

    function defend(Claim disputed, uint256 parentIndex, Claim claim) external payable {
        move(disputed, parentIndex, claim, false);
    }

    function move(Claim disputed, uint256 challengeIndex, Claim claim, bool isAttack) public payable {
        PackedGame game = _gameInProgress();
        PackedClaim countered = _claimAt(challengeIndex, game);
        if (_valueOf(challengeIndex) != disputed) revert InvalidDisputedClaimIndex();

        Position position = countered.position().move(isAttack);
        uint256 depth = position.depth();
        // A defence agrees with a claim and disputes what comes after it. Nothing comes after a root claim: it speaks about
        // the end of its trace.
        if (!isAttack && (challengeIndex == 0 || depth == game.splitDepth() + 2)) revert CannotDefendRootClaim();
        if (depth > game.maxDepth()) revert GameDepthExceeded();
        if (depth == game.splitDepth() + 1) _requireMeantStatus(claim, challengeIndex, isAttack, game);
        if (msg.value != _bondAt(depth, game)) revert IncorrectBondAmount();

        Duration used = _timeUsedAfter(countered, depth, game);
        _enlist(game, claim, position, challengeIndex, countered);
        emit Move(challengeIndex, claim, msg.sender);
        _addClaim(game, uint32(challengeIndex), claim, position, used);
    }

    /// @dev Records a claim of the caller's, with the value sent as its bond.
    function _addClaim(PackedGame game, uint32 parentIndex, Claim claim, Position position, Duration used) internal {
        uint32 index = game.claimCount();
        if (index == NO_PARENT) revert TooManyClaims();
        // INVARIANT: no side has used more time than has passed, so both fit.
        uint256 passed = game.secondsPassed();
        if (passed > type(uint32).max) revert ClockTimeExceeded();

        uint32 number;
        (number, game) = _numberOf(msg.sender, game);
        packedGame = game.withClaim();
        claimList[index].claim = claim;
        claimList[index].packed = packClaim(position, parentIndex, number, uint32(passed), uint32(used.raw()));
        _stake(index, parentIndex, msg.sender, claim, position, used);
    }

    /// @dev Takes the value sent as the bond of a claim that was recorded.
    function _stake(uint32 index, uint32 parentIndex, address claimant, Claim claim, Position position, Duration used)
        internal
    {
        uint128 bond = uint128(msg.value); // ASSUMES: there are fewer than 2^104 wei
        emit ClaimAdded(index, parentIndex, claimant, claim, position, bond, newClock(used, currentTimestamp()));
        if (DEPOSITED_AT_ONCE) weth().deposit{value: msg.value}();
    }

    /// @dev What the clock of a claim at `depth` shows that answers `countered` now. Its side has used what the chess clock
    ///      shows, but keeps enough time to answer the answer: usually one extension; two where that answer is an execution
    ///      root, for which the VM has to be run first; and the oracle's challenge period where it is a step.
    function _timeUsedAfter(PackedClaim countered, uint256 depth, PackedGame game) internal view returns (Duration) {
        Duration used = _challengerTimeUsed(countered, game);
        if (used == maxClockDuration) revert ClockTimeExceeded();

        Duration extension = clockExtension;
        if (depth == game.maxDepth() - 1) {
            extension = extension + Duration.wrap(uint64(vm().oracle().challengePeriod()));
        } else if (depth == game.splitDepth() - 1) {
            extension = extension + extension;
        }
        // ASSUMES: no extension is longer than the whole clock: `initialize`.
        Duration mostUsed = maxClockDuration - extension;
        return used < mostUsed ? used : mostUsed;
    }

    /// @dev An execution root is a final VM state's state hash; its first byte is what its mover says about the program:
    ///      that it does not confirm the disputed root (exit code 1, or a panic), or, if the disputed root is a claim of
    ///      the mover's own side, that it does (exit code 0).
    /// @param leafIndex The claim at the split depth that the execution root answers.
    function _requireMeantStatus(Claim execRoot, uint256 leafIndex, bool isAttack, PackedGame game) internal view {
        uint8 vmStatus = execRoot.asStateHash().vmStatus();
        bool disputedIsOwn = false;
        if (!isAttack) {
            // Agreeing with the leaf disputes the claim just right of it.
            uint256 disputedDepth = Position.wrap(_packed(leafIndex).position().raw() + 1).traceAncestor().depth();
            disputedIsOwn = (disputedDepth + game.splitDepth()) % 2 == 1;
        }
        bool isMeant =
            disputedIsOwn ? vmStatus == VmStatus.VALID : vmStatus == VmStatus.INVALID || vmStatus == VmStatus.PANIC;
        if (!isMeant) revert UnexpectedRootClaim(execRoot);
    }

    // ------------------------------------------------------------------------------------------------ steps

    function step(uint256 claimIndex, bool isAttack, bytes calldata stateData, bytes calldata proof) external {
        PackedGame game = _gameInProgress();
        if (!_isDeepest(_claimAt(claimIndex, game), game)) revert InvalidParent();

        (StateHash preState, uint256 postIndex) = _statesAround(claimIndex, isAttack, game);
        StateHash postState = _execute(preState, stateData, proof, claimIndex);

        // The step counters the claim if it shows the claim's own side wrong about the state after the instruction, or the
        // other side right about it.
        bool postIsRight = postState == _valueOf(postIndex).asStateHash();
        bool postIsOwn = (game.maxDepth() - _packed(postIndex).position().depth()) % 2 == 0;
        if (postIsRight == postIsOwn) revert ValidStep();
        PackedClaim countered = _packed(claimIndex);
        if (countered.answer() != 0) revert DuplicateStep();

        // WHY NOT check the clock, or whether the claim is resolved: a late step still counts when the parent is resolved,
        // and honest players may need it.
        uint32 number;
        (number, packedGame) = _numberOf(msg.sender, packedGame);
        claimList[claimIndex].packed = countered.withAnswer(number + 1);
        emit Stepped(claimIndex, msg.sender, isAttack, postState);
    }

    /// @dev The hash of the state after the instruction that comes next in `stateData`, which must be the witness of
    ///      `preState`.
    function _execute(StateHash preState, bytes calldata stateData, bytes calldata proof, uint256 claimIndex)
        internal
        returns (StateHash)
    {
        if (!preState.isHashOf(stateData)) revert InvalidPrestate();
        return vm().step(stateData, proof, _localContext(claimIndex));
    }

    // ------------------------------------------------------------------------------------------------ resolution

    function resolveClaim(uint256 claimIndex, uint256 numToResolve) external {
        bytes4 refusal = _tryResolve(claimIndex, numToResolve, _gameInProgress());
        if (refusal == ClockNotExpired.selector) revert ClockNotExpired();
        if (refusal == ClaimAlreadyResolved.selector) revert ClaimAlreadyResolved();
        if (refusal == OutOfOrderResolution.selector) revert OutOfOrderResolution();
    }

    function settle(uint256[] calldata claimIndices, uint256 numToResolve) external returns (uint256 done) {
        PackedGame game = _gameInProgress();
        // WHY NOT as in `resolveClaim`, where 0 on a later call does nothing and a huge number overflows: an account that
        // resolves a first page just before could then make this call fail.
        if (numToResolve == 0 || numToResolve > NO_PARENT) numToResolve = NO_PARENT;
        for (uint256 i = 0; i < claimIndices.length; ++i) {
            if (_tryResolve(claimIndices[i], numToResolve, game) == NOTHING_REFUSED) ++done;
        }
        if (_packed(0).isResolved()) _end(game);
    }

    function resolve() external returns (GameStatus) {
        PackedGame game = _gameInProgress();
        if (!_packed(0).isResolved()) revert OutOfOrderResolution();
        return _end(game);
    }

    /// @dev Resolves a claim, or a page of its answers. If that cannot be done, changes nothing.
    /// @return refusal The selector of the error that says why not; NOTHING_REFUSED if it was done.
    function _tryResolve(uint256 claimIndex, uint256 numToResolve, PackedGame game) internal returns (bytes4 refusal) {
        PackedClaim claim = _claimAt(claimIndex, game);
        if (_challengerTimeUsed(claim, game) < maxClockDuration) return ClockNotExpired.selector;
        if (claim.isResolved()) return ClaimAlreadyResolved.selector;

        if (claim.hasMoreAnswers()) return _tryResolvePage(claimIndex, claim, numToResolve, game);

        // Without an answer the claim stands, unless a step countered it.
        uint32 onlyAnswer = _firstAnswer(claimIndex, claim, game);
        address counteredBy = onlyAnswer == 0 ? _counteredBy(claimIndex, claim, game) : address(0);
        if (onlyAnswer != 0) {
            PackedClaim answer = _packed(onlyAnswer);
            if (!answer.isResolved()) return OutOfOrderResolution.selector;
            if (!_isCountered(answer, game)) {
                (claim, counteredBy) = (claim.withWinner(true), _player(answer.claimant()));
            }
        }
        if (onlyAnswer != 0 || claimIndex == 0) claim = claim.withResolutionStarted();
        _settle(claimIndex, claim, counteredBy, game);
        return NOTHING_REFUSED;
    }

    /// @dev As `_tryResolve`, for a claim with several answers that is not resolved and for which there is no time left.
    function _tryResolvePage(uint256 claimIndex, PackedClaim claim, uint256 numToResolve, PackedGame game)
        internal
        returns (bytes4 refusal)
    {
        uint256 count = _answerCount(claimIndex, claim, game);
        if (numToResolve == 0 && !claim.isResolutionStarted()) numToResolve = count;
        uint256 end = _answersProcessed(claimIndex, claim, game) + numToResolve;
        if (end > count) end = count;

        (uint32 winner, bool areResolved) = _winnerUntil(end, claimIndex, claim, game);
        if (!areResolved) return OutOfOrderResolution.selector;
        claim = claim.withResolutionStarted();
        if (winner != 0) claim = claim.withWinner(winner == _firstAnswer(claimIndex, claim, game));
        if (end < count || claim.isCounteredLater()) moreAnswers[claimIndex].setProgress(uint32(end), winner);
        if (end < count) claimList[claimIndex].packed = claim;
        else _settle(claimIndex, claim, _claimantOf(winner), game);
        return NOTHING_REFUSED;
    }

    /// @dev The winner among the answers to a claim before the `end`-th, in the order in which they were made; 0 if none of
    ///      them stands.
    /// @return winner Meaningless unless `areResolved`.
    /// @return areResolved Whether all of those answers that were not processed before are resolved.
    function _winnerUntil(uint256 end, uint256 claimIndex, PackedClaim claim, PackedGame game)
        internal
        view
        returns (uint32 winner, bool areResolved)
    {
        winner = _winner(claimIndex, claim, game);
        uint128 leftmost = _placeOf(winner).raw();
        for (uint256 i = _answersProcessed(claimIndex, claim, game); i < end; ++i) {
            uint32 answerIndex = i == 0 ? _firstAnswer(claimIndex, claim, game) : moreAnswers[claimIndex].at(i - 1);
            PackedClaim answer = _packed(answerIndex);
            if (!answer.isResolved()) return (winner, false);
            // The leftmost reply that stands wins: it disputes the earliest disagreement. Among equals, the first posted.
            uint128 place = answer.position().raw();
            if (place < leftmost && !_isCountered(answer, game)) (winner, leftmost) = (answerIndex, place);
        }
        return (winner, true);
    }

    /// @dev Credits a claim's bond: back to its claimant, or to who countered it, less the part that no winner gets.
    function _settle(uint256 claimIndex, PackedClaim claim, address counteredBy, PackedGame game) internal {
        // A late step counters a claim that was settled for its claimant. So it is noted which ones lost their bonds: above
        // the maximum depth by their winner, and there in the same bit.
        if (counteredBy != address(0) && _isDeepest(claim, game)) claim = claim.withWinner(true);
        claimList[claimIndex].packed = claim.withResolved();
        emit ClaimResolved(claimIndex, counteredBy);
        uint256 bond = _bondOf(claimIndex, claim, game);
        address claimant = _player(claim.claimant());
        Account storage payer = accounts[claimant];
        if (counteredBy == address(0)) {
            (payer.paid, payer.awarded) = (payer.paid + uint104(bond), payer.awarded + uint104(bond));
            emit BondPaid(claimIndex, claimant, bond);
            return;
        }
        payer.paid += uint104(bond);
        // INVARIANT: an account that counters its own claim loses this part, so no lie and no delay is free.
        uint256 forfeited = _forfeitedPart(bond);
        accounts[counteredBy].awarded += uint104(bond - forfeited);
        emit BondPaid(claimIndex, counteredBy, bond - forfeited);
        // WHY NOT log it: it is what the payment lacks of the bond, and half of a game's claims are lost.
        if (forfeited != 0) totalForfeited += forfeited;
    }

    /// @dev Ends the game; its root claim is resolved.
    function _end(PackedGame game) internal returns (GameStatus outcome) {
        outcome = _isCountered(_packed(0), game) ? GameStatus.CHALLENGER_WINS : GameStatus.DEFENDER_WINS;
        packedGame = game.withOutcome(outcome);
        emit Resolved(outcome);
    }

    // ------------------------------------------------------------------------------------------------ paying out

    function depositBonds() public {
        uint256 amount = address(this).balance;
        if (amount != 0) weth().deposit{value: amount}();
    }

    function closeGame() public {
        if (packedGame.mode() != BondDistributionMode.UNDECIDED) return;
        // First of all, so that a pause can only delay the decision, never make it.
        if (anchorStateRegistry().paused()) revert GamePaused();
        if (packedGame.resolvedAt().raw() == 0) revert GameNotResolved();
        if (!anchorStateRegistry().isGameFinalized(this)) revert GameNotFinalized();

        // INVARIANT: the caller cannot starve this call of gas and still close the game: it gets 63 of 64 parts of the gas,
        // and needs less than 63 times what comes after it.
        try anchorStateRegistry().setAnchorState(this) {} catch {}

        BondDistributionMode mode =
            anchorStateRegistry().isGameProper(this) ? BondDistributionMode.NORMAL : BondDistributionMode.REFUND;
        packedGame = packedGame.withMode(mode);
        emit GameClosed(mode);
        // INVARIANT: what a game pays out was in the vault, in reach of its owner, when the payment was announced.
        depositBonds();
    }

    function claimCredit(address recipient) external {
        closeGame();
        uint256 amount = credit(recipient);
        Account storage account = accounts[recipient];
        if (!account.isUnlocked) {
            account.isUnlocked = true;
            weth().unlock(recipient, amount);
            emit CreditUnlocked(recipient, amount);
            return;
        }
        if (amount == 0) revert NoCreditToClaim();
        // Before the money moves, so that a recipient who calls back finds nothing.
        account.isPaid = true;
        weth().withdraw(recipient, amount);
        emit CreditPaid(recipient, amount);
        (bool success,) = recipient.call{value: amount}("");
        if (!success) revert BondTransferFailed();
    }

    // ------------------------------------------------------------------------------------------------ clocks

    function getChallengerDuration(uint256 claimIndex) external view returns (Duration) {
        PackedGame game = _gameInProgress();
        return _challengerTimeUsed(_claimAt(claimIndex, game), game);
    }

    /// @dev Seconds that the side which may answer the claim has used, at most `maxClockDuration`.
    function _challengerTimeUsed(PackedClaim claim, PackedGame game) internal view returns (Duration) {
        // The time that the answering side had used when its claim, the parent, was posted, and the time since this one was.
        uint32 parentIndex = claim.parentIndex();
        uint256 usedBefore = parentIndex == NO_PARENT ? 0 : _packed(parentIndex).timeUsed();
        uint256 used = usedBefore + (game.secondsPassed() - claim.postedAfter());
        return used < maxClockDuration.raw() ? Duration.wrap(uint64(used)) : maxClockDuration;
    }
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";
import {LocalContext} from "../vm/LocalContext.sol";
import {PreimageKey} from "../vm/PreimageKey.sol";
import {StateHash, VmStatus} from "../vm/StateHash.sol";
import {ALL_BPS, BondTerms} from "./Bond.sol";
import {Claim} from "./Claim.sol";
import {Clock, newClock} from "./Clock.sol";
import "./Errors.sol";
import {GameState} from "./GameState.sol";
import {MAX_POSITION_DEPTH, NO_POSITION, Position, ROOT_POSITION} from "./Position.sol";
import {StateRoot} from "./StateRoot.sol";
import {Duration, currentTimestamp} from "./Time.sol";
import {Account, BondDistributionMode, GameLimits, GameStatus, LocalIdent, StoredClaim} from "./Types.sol";
import {IFaultDisputeGame} from "./interfaces/IFaultDisputeGame.sol";
import {ILocalPreimageOracle} from "./interfaces/IFpvm.sol";

/// @title FaultDisputeGame
/// @notice See IFaultDisputeGame. In order: making a game; moves; steps; resolution; paying out; what clients ask.
/// @dev Source: docs/game.md. Claims only ever get added, each with a pointer to the claim that it answers; so the claims
///      that a claim rests on are found by walking up from it.
contract FaultDisputeGame is GameState {
    /// @inheritdoc IFaultDisputeGame
    Duration public immutable maxClockDuration;
    /// @inheritdoc IFaultDisputeGame
    Duration public immutable clockExtension;

    /// @dev Limits of the depths that a request may ask for.
    uint256 internal immutable MAX_DEPTH_LIMIT;
    uint256 internal immutable SPLIT_DEPTH_LIMIT;

    /// @dev The least depth at which execution subgames begin: two levels of state roots above them.
    uint256 internal constant MIN_SPLIT_DEPTH = 2;

    uint256 internal constant WORD_BYTES = 32;
    uint256 internal constant U64_BYTES = 8;
    /// @dev Shifts a 64-bit number to the left end of a word.
    uint256 internal constant U64_ON_THE_LEFT = 192;

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
        uint256 longestExtension = uint256(limits.clockExtension.raw()) * 2;
        if (longestExtension > type(uint64).max || longestExtension > limits.maxClockDuration.raw()) {
            revert InvalidClockExtension();
        }
        MAX_DEPTH_LIMIT = limits.maxGameDepth;
        SPLIT_DEPTH_LIMIT = limits.splitDepth;
        clockExtension = limits.clockExtension;
        maxClockDuration = limits.maxClockDuration;
    }

    /// @dev Errors, first that applies: AlreadyInitialized, BadExtraData, AnchorRootNotFound, UnexpectedRootClaim,
    ///      MaxDepthTooLarge, OddMaxDepth, InvalidSplitDepth, InvalidChallengePeriod, InvalidClockExtension.
    function initialize() external payable {
        if (initialized) revert AlreadyInitialized();
        if (!_isExtraDataCanonical()) revert BadExtraData();

        _readParameters();

        // A step at the bottom may first have to wait until a large pre-image can be used.
        uint256 challengePeriod = vm().oracle().challengePeriod();
        if (challengePeriod > type(uint64).max) revert InvalidChallengePeriod();
        uint256 splitExtension = uint256(clockExtension.raw()) * 2;
        uint256 stepExtension = uint256(clockExtension.raw()) + challengePeriod;
        uint256 longestExtension = splitExtension > stepExtension ? splitExtension : stepExtension;
        if (longestExtension > type(uint64).max || longestExtension > maxClockDuration.raw()) {
            revert InvalidClockExtension();
        }

        initialized = true;
        createdAt = currentTimestamp();
        wasRespectedGameTypeWhenCreated = anchorStateRegistry().respectedGameType() == gameType();

        unchecked {
            rootBondOffset = msg.value - _bondAt(0);
        }
        emit Proposed(requestId(), rootClaim(), gameCreator(), nodeCount, splitDepth_, maxGameDepth_);
        _addClaim(NO_PARENT, gameCreator(), rootClaim(), ROOT_POSITION, newClock(Duration.wrap(0), currentTimestamp()));
        anchorStateRegistry().recordProposal(gameType(), rootClaim(), extraData(), gameCreator());
    }

    /// @dev Reads once and for all where the trace starts and how deep the game goes.
    function _readParameters() internal {
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
        nodeCount = nodes;
        furtherItems = uint8(items - 1); // ASSUMES: 1 to 256
        splitDepth_ = uint8(split); // <= MAX_POSITION_DEPTH
        maxGameDepth_ = uint8(max); // <= MAX_POSITION_DEPTH
    }

    // ------------------------------------------------------------------------------------------------ moves

    function attack(Claim disputed, uint256 parentIndex, Claim claim) external payable {
        move(disputed, parentIndex, claim, true);
    }

    function defend(Claim disputed, uint256 parentIndex, Claim claim) external payable {
        move(disputed, parentIndex, claim, false);
    }

    function move(Claim disputed, uint256 challengeIndex, Claim claim, bool isAttack) public payable {
        _requireInProgress();
        StoredClaim storage countered = _claimAt(challengeIndex);
        if (countered.claim != disputed) revert InvalidDisputedClaimIndex();

        Position position = countered.position.move(isAttack);
        uint256 depth = position.depth();
        // A defence agrees with a claim and disputes what comes after it. Nothing comes after a root claim: it speaks about
        // the end of its trace.
        if (!isAttack && (challengeIndex == 0 || depth == uint256(splitDepth_) + 2)) revert CannotDefendRootClaim();
        if (depth > maxGameDepth_) revert GameDepthExceeded();
        if (depth == uint256(splitDepth_) + 1) _requireMeantStatus(claim, challengeIndex, isAttack);
        if (msg.value != _bondAt(depth)) revert IncorrectBondAmount();

        Clock clock = _clockAfter(countered, depth);
        _enlist(countered, challengeIndex, claim, position);
        emit Move(challengeIndex, claim, msg.sender);
        _addClaim(uint32(challengeIndex), msg.sender, claim, position, clock);
    }

    /// @dev Records a claim with the value sent as its bond.
    function _addClaim(uint32 parentIndex, address claimant, Claim claim, Position position, Clock clock) internal {
        uint128 bond = uint128(msg.value); // ASSUMES: there are fewer than 2^120 wei
        uint32 index = claimCount;
        claimCount = index + 1;
        emit ClaimAdded(index, parentIndex, claimant, claim, position, bond, clock);
        StoredClaim storage added = claimList[index];
        added.claim = claim;
        added.position = position;
        added.parentIndex = parentIndex;
        added.postedAt = clock.timestamp().stored();
        added.claimant = claimant;
        added.timeUsed = clock.duration();
        accounts[claimant].paid += uint120(bond);
        weth().deposit{value: bond}();
    }

    /// @dev The clock of a claim at `depth` that answers `countered` now. Its side has used what the chess clock shows,
    ///      but keeps enough time to answer the answer: usually one extension; two where that answer is an execution
    ///      root, for which the VM has to be run first; and the oracle's challenge period where it is a step.
    function _clockAfter(StoredClaim storage countered, uint256 depth) internal view returns (Clock) {
        Duration used = _challengerTimeUsed(countered);
        if (used == maxClockDuration) revert ClockTimeExceeded();

        Duration extension = clockExtension;
        if (depth == uint256(maxGameDepth_) - 1) {
            extension = extension + Duration.wrap(uint64(vm().oracle().challengePeriod()));
        } else if (depth == uint256(splitDepth_) - 1) {
            extension = extension + extension;
        }
        // ASSUMES: no extension is longer than the whole clock: `initialize`.
        Duration mostUsed = maxClockDuration - extension;
        return newClock(used < mostUsed ? used : mostUsed, currentTimestamp());
    }

    /// @dev An execution root is a final VM state's state hash; its first byte is what its mover says about the program:
    ///      that it does not confirm the disputed root (exit code 1, or a panic), or, if the disputed root is a claim of
    ///      the mover's own side, that it does (exit code 0).
    /// @param leafIndex The claim at the split depth that the execution root answers.
    function _requireMeantStatus(Claim execRoot, uint256 leafIndex, bool isAttack) internal view {
        uint8 vmStatus = execRoot.asStateHash().vmStatus();
        bool disputedIsOwn = false;
        if (!isAttack) {
            // Agreeing with the leaf disputes the claim just right of it.
            Position right = Position.wrap(claimList[leafIndex].position.raw() + 1);
            uint256 disputedDepth = claimList[_ancestor(right.traceAncestor(), leafIndex)].position.depth();
            disputedIsOwn = (disputedDepth + splitDepth_) % 2 == 1;
        }
        bool isMeant =
            disputedIsOwn ? vmStatus == VmStatus.VALID : vmStatus == VmStatus.INVALID || vmStatus == VmStatus.PANIC;
        if (!isMeant) revert UnexpectedRootClaim(execRoot);
    }

    // ------------------------------------------------------------------------------------------------ steps

    function step(uint256 claimIndex, bool isAttack, bytes calldata stateData, bytes calldata proof) external {
        _requireInProgress();
        StoredClaim storage countered = _claimAt(claimIndex);
        if (countered.position.depth() != maxGameDepth_) revert InvalidParent();

        (StateHash preState, StoredClaim storage post) = _statesAround(claimIndex, isAttack);
        StateHash postState = _execute(preState, stateData, proof, claimIndex);

        // The step counters the claim if it shows the claim's own side wrong about the state after the instruction, or the
        // other side right about it.
        bool postIsRight = postState == post.claim.asStateHash();
        bool postIsOwn = (maxGameDepth_ - post.position.depth()) % 2 == 0;
        if (postIsRight == postIsOwn) revert ValidStep();
        if (countered.stepper != address(0)) revert DuplicateStep();

        // WHY NOT check the clock, or whether the claim is resolved: a late step still counts when the parent is resolved,
        // and honest players may need it.
        countered.stepper = msg.sender;
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

    function addLocalData(uint256 ident, uint256 execLeafIndex, uint256 partOffset) external {
        _requireInProgress();
        (StateRoot starting,, StateRoot disputed, Position disputedPosition) = _startingAndDisputed(execLeafIndex);
        LocalContext context = _localContext(execLeafIndex);

        bytes32 word;
        uint256 size = WORD_BYTES;
        if (ident == LocalIdent.STARTING_ROOT) {
            word = starting.raw();
        } else if (ident == LocalIdent.DISPUTED_ROOT) {
            word = disputed.raw();
        } else if (ident == LocalIdent.DISPUTED_INDEX) {
            (word, size) = (bytes32(_nodeIndex(disputedPosition) << U64_ON_THE_LEFT), U64_BYTES);
        } else if (ident == LocalIdent.CHAIN_ID) {
            (word, size) = (bytes32(l2ChainId() << U64_ON_THE_LEFT), U64_BYTES);
        } else if (ident == LocalIdent.ITEM) {
            word = _itemOf(_nodeIndex(disputedPosition));
        } else {
            revert InvalidLocalIdent();
        }
        ILocalPreimageOracle oracle = vm().oracle();
        PreimageKey key = oracle.loadLocalData(ident, context, word, size, partOffset);
        emit LocalDataAdded(ident, execLeafIndex, context, key, partOffset);
    }

    /// @dev t of the state root S_t that a claim at `position`, not below the split depth, asserts.
    function _nodeIndex(Position position) internal view returns (uint256) {
        uint256 transitions = position.traceIndex(splitDepth_) + 1;
        return transitions < nodeCount ? transitions : nodeCount;
    }

    /// @dev Which item, of how many there is room for, has the node that leads to S_t: the data of LocalIdent.ITEM.
    /// @param t 1 to `nodeCount`.
    function _itemOf(uint256 t) internal view returns (bytes32) {
        uint256 items = itemCount();
        uint256 item = (t - 1) / (nodeCount / items);
        return bytes32(FixedPointMathLib.log2Up(items) << 64 | item);
    }

    /// @dev The claims about the states before and after the instruction that a step against `claimIndex` executes.
    function _statesAround(uint256 claimIndex, bool isAttack)
        internal
        view
        returns (StateHash preState, StoredClaim storage post)
    {
        StoredClaim storage countered = claimList[claimIndex];
        Position position = countered.position;
        if (isAttack) {
            // The claim is the state after the instruction.
            post = countered;
            uint256 leavesPerTrace = uint256(1) << (maxGameDepth_ - splitDepth_ - 1);
            preState = position.indexAtDepth() % leavesPerTrace == 0
                ? absolutePrestate()
                : claimList[_ancestorBelowSplit(Position.wrap(position.raw() - 1), countered.parentIndex)].claim
                    .asStateHash();
        } else {
            // The claim is the state before it.
            preState = countered.claim.asStateHash();
            post = claimList[_ancestorBelowSplit(Position.wrap(position.raw() + 1), countered.parentIndex)];
        }
    }

    // ------------------------------------------------------------------------------------------------ looking up

    /// @dev The claim at `target` among `index` and the claims above it.
    function _ancestor(Position target, uint256 index) internal view returns (uint256) {
        // ASSUMES: it is there: a position next to a claim's own is covered by a claim on its path. Else Panic(0x32).
        while (claimList[index].position.raw() != target.raw()) index = claimList[index].parentIndex;
        return index;
    }

    /// @dev The claim in the same execution subgame, among `index` and those above it, that speaks about `position`.
    function _ancestorBelowSplit(Position position, uint256 index) internal view returns (uint256) {
        return _ancestor(position.traceAncestorBounded(splitDepth_), index);
    }

    /// @dev Which two neighbouring state roots an execution subgame, given by any claim of it, is about: `starting` before
    ///      the node, on which the players agree, and `disputed` after it, on which they do not. S_0 stands at NO_POSITION.
    function _startingAndDisputed(uint256 index)
        internal
        view
        returns (StateRoot starting, Position startingPosition, StateRoot disputed, Position disputedPosition)
    {
        if (_claimAt(index).position.depth() <= splitDepth_) revert ClaimAboveSplit();
        uint256 execRoot;
        while (claimList[index].position.depth() > splitDepth_) {
            (execRoot, index) = (index, claimList[index].parentIndex);
        }

        Position leaf = claimList[index].position;
        StateRoot leafRoot = claimList[index].claim.asStateRoot();
        if (claimList[execRoot].position.parent().raw() == leaf.raw()) {
            (disputed, disputedPosition) = (leafRoot, leaf);
            if (leaf.indexAtDepth() == 0) {
                (starting, startingPosition) = (startingRootHash, NO_POSITION);
            } else {
                StoredClaim storage left = claimList[_ancestor(Position.wrap(leaf.raw() - 1).traceAncestor(), index)];
                (starting, startingPosition) = (left.claim.asStateRoot(), left.position);
            }
        } else {
            (starting, startingPosition) = (leafRoot, leaf);
            StoredClaim storage right = claimList[_ancestor(Position.wrap(leaf.raw() + 1).traceAncestor(), index)];
            (disputed, disputedPosition) = (right.claim.asStateRoot(), right.position);
        }
    }

    /// @dev Tells an execution subgame from all others of this game, so that its local pre-images are its own.
    function _localContext(uint256 index) internal view returns (LocalContext) {
        (StateRoot starting, Position startingPosition, StateRoot disputed, Position disputedPosition) =
            _startingAndDisputed(index);
        bytes memory about = startingPosition.raw() == NO_POSITION.raw()
            ? abi.encode(disputed, disputedPosition)
            : abi.encode(starting, startingPosition, disputed, disputedPosition);
        return LocalContext.wrap(keccak256(about));
    }

    // ------------------------------------------------------------------------------------------------ resolution

    function resolveClaim(uint256 claimIndex, uint256 numToResolve) external {
        _requireInProgress();
        bytes4 refusal = _tryResolve(claimIndex, numToResolve);
        if (refusal == ClockNotExpired.selector) revert ClockNotExpired();
        if (refusal == ClaimAlreadyResolved.selector) revert ClaimAlreadyResolved();
        if (refusal == OutOfOrderResolution.selector) revert OutOfOrderResolution();
    }

    function settle(uint256[] calldata claimIndices, uint256 numToResolve) external returns (uint256 done) {
        _requireInProgress();
        // WHY NOT as in `resolveClaim`, where 0 on a later call does nothing and a huge number overflows: an account that
        // resolves a first page just before could then make this call fail.
        if (numToResolve == 0 || numToResolve > NO_PARENT) numToResolve = NO_PARENT;
        for (uint256 i = 0; i < claimIndices.length; ++i) {
            if (_tryResolve(claimIndices[i], numToResolve) == NOTHING_REFUSED) ++done;
        }
        if (claimList[0].isResolved) _end();
    }

    function resolve() external returns (GameStatus) {
        _requireInProgress();
        if (!claimList[0].isResolved) revert OutOfOrderResolution();
        return _end();
    }

    /// @dev Resolves a claim, or a page of its answers. If that cannot be done, changes nothing.
    /// @return refusal The selector of the error that says why not; NOTHING_REFUSED if it was done.
    function _tryResolve(uint256 claimIndex, uint256 numToResolve) internal returns (bytes4 refusal) {
        StoredClaim storage claim = _claimAt(claimIndex);
        if (_challengerTimeUsed(claim) < maxClockDuration) return ClockNotExpired.selector;
        if (claim.isResolved) return ClaimAlreadyResolved.selector;

        uint256 count = _answerCount(claimIndex);
        if (count == 0 && claimIndex != 0) {
            // Without an answer the claim stands, unless a step countered it.
            _settle(claimIndex, _counteredBy(claim));
            return NOTHING_REFUSED;
        }

        bool started = claim.resolutionStarted;
        if (!started && numToResolve == 0) numToResolve = count;
        uint256 start = started ? answersLookedAt[claimIndex] : 0;
        uint256 end = start + numToResolve;
        if (end > count) end = count;

        uint32 winner = claim.winningAnswer;
        uint128 leftmost = _placeOf(winner).raw();
        for (uint256 i = start; i < end; ++i) {
            uint32 answerIndex = _answerAt(claimIndex, i);
            StoredClaim storage answer = claimList[answerIndex];
            if (!answer.isResolved) return OutOfOrderResolution.selector;
            // The leftmost reply that stands wins: it disputes the earliest disagreement. Among equals, the first posted.
            uint128 place = answer.position.raw();
            if (place < leftmost && _counteredBy(answer) == address(0)) (winner, leftmost) = (answerIndex, place);
        }
        if (!started) claim.resolutionStarted = true;
        if (winner != claim.winningAnswer) claim.winningAnswer = winner;
        if (end < count) answersLookedAt[claimIndex] = end;
        else _settle(claimIndex, winner == 0 ? address(0) : claimList[winner].claimant);
        return NOTHING_REFUSED;
    }

    /// @dev Credits a claim's bond: back to its claimant, or to who countered it, less the part that no winner gets.
    function _settle(uint256 claimIndex, address counteredBy) internal {
        StoredClaim storage claim = claimList[claimIndex];
        claim.isResolved = true;
        emit ClaimResolved(claimIndex, counteredBy);
        uint256 bond = _bondOf(claimIndex);
        if (counteredBy == address(0)) return _award(claimIndex, claim.claimant, bond);
        // INVARIANT: an account that counters its own claim loses this part, so no lie and no delay is free.
        uint256 forfeited = bond * FORFEITED_BPS / ALL_BPS;
        _award(claimIndex, counteredBy, bond - forfeited);
        if (forfeited != 0) _award(claimIndex, FORFEITED_TO, forfeited);
    }

    function _award(uint256 claimIndex, address recipient, uint256 amount) internal {
        accounts[recipient].awarded += uint120(amount);
        emit BondPaid(claimIndex, recipient, amount);
    }

    /// @dev Ends the game; its root claim is resolved.
    function _end() internal returns (GameStatus outcome) {
        outcome = _counteredBy(claimList[0]) == address(0) ? GameStatus.DEFENDER_WINS : GameStatus.CHALLENGER_WINS;
        status = outcome;
        resolvedAt_ = currentTimestamp().stored();
        emit Resolved(outcome);
    }

    // ------------------------------------------------------------------------------------------------ paying out

    function closeGame() public {
        if (bondDistributionMode != BondDistributionMode.UNDECIDED) return;
        // First of all, so that a pause can only delay the decision, never make it.
        if (anchorStateRegistry().paused()) revert GamePaused();
        if (resolvedAt_.raw() == 0) revert GameNotResolved();
        if (!anchorStateRegistry().isGameFinalized(this)) revert GameNotFinalized();

        // INVARIANT: the caller cannot starve this call of gas and still close the game: it gets 63 of 64 parts of the gas,
        // and needs less than 63 times what comes after it.
        try anchorStateRegistry().setAnchorState(this) {} catch {}

        bondDistributionMode =
            anchorStateRegistry().isGameProper(this) ? BondDistributionMode.NORMAL : BondDistributionMode.REFUND;
        emit GameClosed(bondDistributionMode);
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
        (account.paid, account.awarded) = (0, 0);
        weth().withdraw(recipient, amount);
        emit CreditPaid(recipient, amount);
        (bool success,) = recipient.call{value: amount}("");
        if (!success) revert BondTransferFailed();
    }

    // ------------------------------------------------------------------------------------------------ what clients ask

    function getChallengerDuration(uint256 claimIndex) external view returns (Duration) {
        _requireInProgress();
        return _challengerTimeUsed(_claimAt(claimIndex));
    }

    /// @dev Seconds that the side which may answer the claim has used, at most `maxClockDuration`.
    function _challengerTimeUsed(StoredClaim storage claim) internal view returns (Duration) {
        // The time that the answering side had used when its claim, the parent, was posted, and the time since this one was.
        uint32 parentIndex = claim.parentIndex;
        uint64 usedBefore = parentIndex == NO_PARENT ? 0 : claimList[parentIndex].timeUsed.raw();
        uint256 used = usedBefore + (block.timestamp - claim.postedAt.raw());
        return used < maxClockDuration.raw() ? Duration.wrap(uint64(used)) : maxClockDuration;
    }

    function l2BlockNumber() external view returns (uint256) {
        return nodeCount;
    }

    function l2SequenceNumber() external view returns (uint256) {
        return nodeCount;
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

    function _requireInProgress() internal view {
        if (status != GameStatus.IN_PROGRESS) revert GameNotInProgress();
    }
}

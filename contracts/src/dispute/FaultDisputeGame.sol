// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Bond} from "./Bond.sol";
import {Clock, newClock} from "./Clock.sol";
import "./Errors.sol";
import {GameArguments} from "./GameArguments.sol";
import {Position, NO_POSITION, ROOT_POSITION} from "./Position.sol";
import {BondDistributionMode, GameLimits, GameStatus, ResolutionCheckpoint, StoredClaim, VmStatus} from "./Types.sol";
import {IFaultDisputeGame} from "./interfaces/IFaultDisputeGame.sol";
import {ILocalPreimageOracle} from "./interfaces/IFpvm.sol";

/// @title FaultDisputeGame
/// @notice See IFaultDisputeGame. In order: making a game; moves; steps; resolution; paying out; what clients ask.
/// @dev Source: docs/game.md. Claims only ever get added, each with a pointer to the claim that it answers; so the claims
///      that a claim rests on are found by walking up from it.
contract FaultDisputeGame is GameArguments {
    /// @inheritdoc IFaultDisputeGame
    uint64 public immutable maxClockDuration;
    /// @inheritdoc IFaultDisputeGame
    uint64 public immutable clockExtension;

    /// @dev Limits of the depths that a request may ask for.
    uint256 internal immutable MAX_DEPTH_LIMIT;
    uint256 internal immutable SPLIT_DEPTH_LIMIT;

    /// @dev The index that stands for "no parent".
    uint32 internal constant NO_PARENT = type(uint32).max;

    uint64 public createdAt;
    uint64 public resolvedAt;
    GameStatus public status;
    bool internal initialized;
    bool public wasRespectedGameTypeWhenCreated;
    BondDistributionMode public bondDistributionMode;
    uint8 internal splitDepth_;
    uint8 internal maxGameDepth_;
    uint64 public nodeCount;

    /// @inheritdoc IFaultDisputeGame
    bytes32 public startingRootHash;

    StoredClaim[] internal claimList;
    mapping(bytes32 key => bool) public claims;
    mapping(uint256 claimIndex => uint256[] children) public subgames;
    mapping(uint256 claimIndex => bool) public resolvedSubgames;
    mapping(uint256 claimIndex => ResolutionCheckpoint) public resolutionCheckpoints;
    mapping(address => uint256) public normalModeCredit;
    mapping(address => uint256) public refundModeCredit;
    mapping(address => bool) public hasUnlockedCredit;

    // ------------------------------------------------------------------------------------------------ making a game

    /// @param limits What this type's games may look like.
    constructor(GameLimits memory limits) {
        if (limits.maxGameDepth > 125) revert MaxDepthTooLarge();
        if (limits.splitDepth == type(uint256).max || limits.splitDepth + 1 >= limits.maxGameDepth) {
            revert InvalidSplitDepth();
        }
        if (limits.splitDepth < 2) revert InvalidSplitDepth();
        uint256 longestExtension = uint256(limits.clockExtension) * 2;
        if (longestExtension > type(uint64).max || longestExtension > limits.maxClockDuration) {
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
        // Extra data of any other length would let two games differ in bytes that nobody looks at.
        if (msg.data.length != INITIALIZE_CALLDATA_BYTES) revert BadExtraData();

        _readParameters();

        // Whoever answers at the bottom may first have to wait until a large pre-image can be used.
        uint256 challengePeriod = vm().oracle().challengePeriod();
        if (challengePeriod > type(uint64).max) revert InvalidChallengePeriod();
        uint256 splitExtension = uint256(clockExtension) * 2;
        uint256 stepExtension = uint256(clockExtension) + challengePeriod;
        uint256 longestExtension = splitExtension > stepExtension ? splitExtension : stepExtension;
        if (longestExtension > type(uint64).max || longestExtension > maxClockDuration) revert InvalidClockExtension();

        initialized = true;
        createdAt = uint64(block.timestamp);
        wasRespectedGameTypeWhenCreated = anchorStateRegistry().respectedGameType() == gameType();

        emit Proposed(requestId(), rootClaim(), gameCreator(), nodeCount, splitDepth_, maxGameDepth_);
        _addClaim(NO_PARENT, gameCreator(), rootClaim(), ROOT_POSITION, newClock(0, uint64(block.timestamp)));
    }

    /// @dev Reads once and for all where the trace starts and how deep the game goes.
    function _readParameters() internal {
        (bytes32 startingRoot, uint64 nodes, uint64 split, uint64 max) =
            anchorStateRegistry().gameParameters(requestId());
        if (startingRoot == bytes32(0)) revert AnchorRootNotFound();
        if (nodes == 0) revert UnexpectedRootClaim(rootClaim());
        if (max > MAX_DEPTH_LIMIT) revert MaxDepthTooLarge();
        // INVARIANT: the deepest claims belong to the root claim's side, so a lie there falls by a step, which the chain
        // executes, and not only by the clock.
        if (max % 2 != 0) revert OddMaxDepth(max);
        if (split < 2 || split > SPLIT_DEPTH_LIMIT || split + 1 >= max) revert InvalidSplitDepth();
        // INVARIANT: the last leaf of the ML phase is S_n, so the root claim speaks about the whole inference.
        if (nodes > uint256(1) << split) revert InvalidSplitDepth();

        startingRootHash = startingRoot;
        nodeCount = nodes;
        splitDepth_ = uint8(split); // <= 125
        maxGameDepth_ = uint8(max); // <= 125
    }

    // ------------------------------------------------------------------------------------------------ moves

    function attack(bytes32 disputed, uint256 parentIndex, bytes32 claim) external payable {
        move(disputed, parentIndex, claim, true);
    }

    function defend(bytes32 disputed, uint256 parentIndex, bytes32 claim) external payable {
        move(disputed, parentIndex, claim, false);
    }

    function move(bytes32 disputed, uint256 challengeIndex, bytes32 claim, bool isAttack) public payable {
        _requireInProgress();
        StoredClaim storage countered = claimList[challengeIndex];
        if (countered.claim != disputed) revert InvalidDisputedClaimIndex();

        Position position = countered.position.move(isAttack);
        uint256 depth = position.depth();
        // A defence agrees with a claim and disputes what comes after it. Nothing comes after a root claim: it speaks about
        // the end of its trace.
        if (!isAttack && (challengeIndex == 0 || depth == uint256(splitDepth_) + 2)) revert CannotDefendRootClaim();
        if (depth > maxGameDepth_) revert GameDepthExceeded();
        if (depth == uint256(splitDepth_) + 1) _requireMeantStatus(claim, challengeIndex, isAttack);
        if (msg.value != Bond.required(depth, maxGameDepth_)) revert IncorrectBondAmount();

        Clock clock = _clockAfter(challengeIndex, depth);

        bytes32 key = keccak256(abi.encodePacked(claim, position, uint128(challengeIndex)));
        if (claims[key]) revert ClaimAlreadyExists();
        claims[key] = true;

        subgames[challengeIndex].push(claimList.length);
        emit Move(challengeIndex, claim, msg.sender);
        _addClaim(uint32(challengeIndex), msg.sender, claim, position, clock);
    }

    /// @dev Records a claim with the value sent as its bond.
    function _addClaim(uint32 parentIndex, address claimant, bytes32 claim, Position position, Clock clock) internal {
        uint128 bond = uint128(msg.value); // ASSUMES: there are fewer than 2^128 wei
        emit ClaimAdded(claimList.length, parentIndex, claimant, claim, position, bond, clock);
        claimList.push(
            StoredClaim({
                claim: claim,
                bond: bond,
                position: position,
                claimant: claimant,
                parentIndex: parentIndex,
                postedAt: clock.timestamp(),
                counteredBy: address(0),
                timeUsed: clock.duration()
            })
        );
        refundModeCredit[claimant] += bond;
        weth().deposit{value: bond}();
    }

    /// @dev The clock of a claim at `depth` that answers `challengeIndex` now. Its team has used what the chess clock shows,
    ///      but keeps enough time to answer the answer: usually one extension; two where that answer is an execution
    ///      root, for which the VM has to be run first; and the oracle's challenge period where it is a step.
    function _clockAfter(uint256 challengeIndex, uint256 depth) internal view returns (Clock) {
        uint64 used = getChallengerDuration(challengeIndex);
        if (used == maxClockDuration) revert ClockTimeExceeded();

        uint64 extension = clockExtension;
        if (depth == uint256(maxGameDepth_) - 1) extension += uint64(vm().oracle().challengePeriod());
        else if (depth == uint256(splitDepth_) - 1) extension *= 2;
        // ASSUMES: no extension is longer than the whole clock: `initialize`.
        uint64 mostUsed = maxClockDuration - extension;
        return newClock(used < mostUsed ? used : mostUsed, uint64(block.timestamp));
    }

    /// @dev An execution root is the commitment of a final VM state; its first byte is what its mover says about the program:
    ///      that it does not confirm the disputed root (exit code 1, or a panic), or, if the disputed root is a claim of
    ///      the mover's own team, that it does (exit code 0).
    /// @param leafIndex The claim at the split depth that the execution root answers.
    function _requireMeantStatus(bytes32 execRoot, uint256 leafIndex, bool isAttack) internal view {
        uint8 vmStatus = uint8(execRoot[0]);
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
        StoredClaim storage countered = claimList[claimIndex];
        if (countered.position.depth() != maxGameDepth_) revert InvalidParent();

        (bytes32 preClaim, StoredClaim storage post) = _statesAround(claimIndex, isAttack);
        bytes32 postState = _execute(preClaim, stateData, proof, claimIndex);

        // The step counters the claim if it shows the claim's own team wrong about the state after the instruction, or the
        // other team right about it.
        bool postIsRight = postState == post.claim;
        bool postIsOwn = (maxGameDepth_ - post.position.depth()) % 2 == 0;
        if (postIsRight == postIsOwn) revert ValidStep();
        if (countered.counteredBy != address(0)) revert DuplicateStep();

        // WHY NOT check the clock, or whether the claim is resolved: a late step still counts when the parent is resolved,
        // and honest players may need it.
        countered.counteredBy = msg.sender;
        emit Stepped(claimIndex, msg.sender, isAttack, postState);
    }

    /// @dev The commitment of the state after the instruction that comes next in `stateData`, which must be what `preClaim`
    ///      asserts.
    function _execute(bytes32 preClaim, bytes calldata stateData, bytes calldata proof, uint256 claimIndex)
        internal
        returns (bytes32)
    {
        // The first byte of a commitment is the status; the state itself tells it again, so it is not compared.
        if (keccak256(stateData) << 8 != preClaim << 8) revert InvalidPrestate();
        return vm().step(stateData, proof, _localContext(claimIndex));
    }

    function addLocalData(uint256 ident, uint256 execLeafIndex, uint256 partOffset) external {
        _requireInProgress();
        (bytes32 starting,, bytes32 disputed, Position disputedPosition) = _startingAndDisputed(execLeafIndex);
        bytes32 context = _localContext(execLeafIndex);

        bytes32 word;
        uint256 size = 32;
        if (ident == 2) {
            word = starting;
        } else if (ident == 3) {
            word = disputed;
        } else if (ident == 4) {
            (word, size) = (bytes32(_nodeIndex(disputedPosition) << 192), 8);
        } else if (ident == 5) {
            (word, size) = (bytes32(l2ChainId() << 192), 8);
        } else {
            revert InvalidLocalIdent();
        }
        ILocalPreimageOracle oracle = vm().oracle();
        bytes32 key = oracle.loadLocalData(ident, context, word, size, partOffset);
        emit LocalDataAdded(ident, execLeafIndex, context, key, partOffset);
    }

    /// @dev t of the state root S_t that a claim at `position`, not below the split depth, asserts.
    function _nodeIndex(Position position) internal view returns (uint256) {
        uint256 transitions = position.traceIndex(splitDepth_) + 1;
        return transitions < nodeCount ? transitions : nodeCount;
    }

    /// @dev The claims about the states before and after the instruction that a step against `claimIndex` executes.
    function _statesAround(uint256 claimIndex, bool isAttack)
        internal
        view
        returns (bytes32 preClaim, StoredClaim storage post)
    {
        StoredClaim storage countered = claimList[claimIndex];
        Position position = countered.position;
        if (isAttack) {
            // The claim is the state after the instruction.
            post = countered;
            uint256 leavesPerTrace = uint256(1) << (maxGameDepth_ - splitDepth_ - 1);
            preClaim = position.indexAtDepth() % leavesPerTrace == 0
                ? absolutePrestate()
                : claimList[_ancestorBelowSplit(Position.wrap(position.raw() - 1), countered.parentIndex)].claim;
        } else {
            // The claim is the state before it.
            preClaim = countered.claim;
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
        returns (bytes32 starting, Position startingPosition, bytes32 disputed, Position disputedPosition)
    {
        if (claimList[index].position.depth() <= splitDepth_) revert ClaimAboveSplit();
        uint256 execRoot;
        while (claimList[index].position.depth() > splitDepth_) {
            (execRoot, index) = (index, claimList[index].parentIndex);
        }

        Position leaf = claimList[index].position;
        bytes32 leafClaim = claimList[index].claim;
        if (claimList[execRoot].position.parent().raw() == leaf.raw()) {
            (disputed, disputedPosition) = (leafClaim, leaf);
            if (leaf.indexAtDepth() == 0) {
                (starting, startingPosition) = (startingRootHash, NO_POSITION);
            } else {
                StoredClaim storage left = claimList[_ancestor(Position.wrap(leaf.raw() - 1).traceAncestor(), index)];
                (starting, startingPosition) = (left.claim, left.position);
            }
        } else {
            (starting, startingPosition) = (leafClaim, leaf);
            StoredClaim storage right = claimList[_ancestor(Position.wrap(leaf.raw() + 1).traceAncestor(), index)];
            (disputed, disputedPosition) = (right.claim, right.position);
        }
    }

    /// @dev Tells an execution subgame from all others of this game, so that its local pre-images are its own.
    function _localContext(uint256 index) internal view returns (bytes32) {
        (bytes32 starting, Position startingPosition, bytes32 disputed, Position disputedPosition) =
            _startingAndDisputed(index);
        if (startingPosition.raw() == NO_POSITION.raw()) return keccak256(abi.encode(disputed, disputedPosition));
        return keccak256(abi.encode(starting, startingPosition, disputed, disputedPosition));
    }

    // ------------------------------------------------------------------------------------------------ resolution

    function resolveClaim(uint256 claimIndex, uint256 numToResolve) external {
        _requireInProgress();
        StoredClaim storage claim = claimList[claimIndex];
        if (getChallengerDuration(claimIndex) < maxClockDuration) revert ClockNotExpired();
        if (resolvedSubgames[claimIndex]) revert ClaimAlreadyResolved();

        uint256[] storage replies = subgames[claimIndex];
        if (replies.length == 0 && claimIndex != 0) {
            // Nobody answered: the claim stands unless a step countered it.
            _settle(claimIndex, claim.counteredBy);
            return;
        }

        ResolutionCheckpoint memory checkpoint = resolutionCheckpoints[claimIndex];
        if (!checkpoint.initialCheckpointComplete) {
            checkpoint.initialCheckpointComplete = true;
            checkpoint.leftmostPosition = Position.wrap(type(uint128).max);
            if (numToResolve == 0) numToResolve = replies.length;
        }
        uint256 end = checkpoint.subgameIndex + numToResolve;
        if (end > replies.length) end = replies.length;

        for (uint256 i = checkpoint.subgameIndex; i < end; ++i) {
            uint256 replyIndex = replies[i];
            if (!resolvedSubgames[replyIndex]) revert OutOfOrderResolution();
            StoredClaim storage reply = claimList[replyIndex];
            // The leftmost reply that stands wins: it disputes the earliest disagreement. Among equals, the first posted.
            if (reply.counteredBy == address(0) && reply.position.raw() < checkpoint.leftmostPosition.raw()) {
                checkpoint.leftmostPosition = reply.position;
                checkpoint.counteredBy = reply.claimant;
            }
        }
        checkpoint.subgameIndex = uint32(end);
        resolutionCheckpoints[claimIndex] = checkpoint;

        if (end == replies.length) {
            claim.counteredBy = checkpoint.counteredBy;
            _settle(claimIndex, checkpoint.counteredBy);
        }
    }

    /// @dev Credits a claim's bond to who countered it, or back to its claimant.
    function _settle(uint256 claimIndex, address counteredBy) internal {
        resolvedSubgames[claimIndex] = true;
        StoredClaim storage claim = claimList[claimIndex];
        address recipient = counteredBy == address(0) ? claim.claimant : counteredBy;
        normalModeCredit[recipient] += claim.bond;
        emit ClaimResolved(claimIndex, counteredBy);
        emit BondPaid(claimIndex, recipient, claim.bond);
    }

    function resolve() external returns (GameStatus status_) {
        _requireInProgress();
        if (!resolvedSubgames[0]) revert OutOfOrderResolution();
        status_ = claimList[0].counteredBy == address(0) ? GameStatus.DEFENDER_WINS : GameStatus.CHALLENGER_WINS;
        status = status_;
        resolvedAt = uint64(block.timestamp);
        emit Resolved(status_);
    }

    // ------------------------------------------------------------------------------------------------ paying out

    function closeGame() public {
        if (bondDistributionMode != BondDistributionMode.UNDECIDED) return;
        // First of all, so that a pause can only delay the decision, never make it.
        if (anchorStateRegistry().paused()) revert GamePaused();
        if (resolvedAt == 0) revert GameNotResolved();
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
        if (!hasUnlockedCredit[recipient]) {
            hasUnlockedCredit[recipient] = true;
            weth().unlock(recipient, amount);
            emit CreditUnlocked(recipient, amount);
            return;
        }
        if (amount == 0) revert NoCreditToClaim();
        // Before the money moves, so that a recipient who calls back finds nothing.
        refundModeCredit[recipient] = 0;
        normalModeCredit[recipient] = 0;
        weth().withdraw(recipient, amount);
        emit CreditPaid(recipient, amount);
        (bool success,) = recipient.call{value: amount}("");
        if (!success) revert BondTransferFailed();
    }

    function credit(address recipient) public view returns (uint256) {
        return
            bondDistributionMode == BondDistributionMode.REFUND
                ? refundModeCredit[recipient]
                : normalModeCredit[recipient];
    }

    // ------------------------------------------------------------------------------------------------ what clients ask

    function getChallengerDuration(uint256 claimIndex) public view returns (uint64) {
        _requireInProgress();
        StoredClaim storage claim = claimList[claimIndex];
        // The time that the answering team had used when its claim, the parent, was posted, and the time since this one was.
        uint64 usedBefore = claim.parentIndex == NO_PARENT ? 0 : claimList[claim.parentIndex].timeUsed;
        uint256 used = usedBefore + (block.timestamp - claim.postedAt);
        return used < maxClockDuration ? uint64(used) : maxClockDuration;
    }

    function getRequiredBond(Position position) external view returns (uint256) {
        uint256 depth = position.depth();
        if (depth > maxGameDepth_) revert GameDepthExceeded();
        return Bond.required(depth, maxGameDepth_);
    }

    function getNumToResolve(uint256 claimIndex) external view returns (uint256) {
        return subgames[claimIndex].length - resolutionCheckpoints[claimIndex].subgameIndex;
    }

    function claimData(uint256 index)
        external
        view
        returns (
            uint32 parentIndex,
            address counteredBy,
            address claimant,
            uint128 bond,
            bytes32 claim,
            Position position,
            Clock clock
        )
    {
        StoredClaim storage c = claimList[index];
        return (c.parentIndex, c.counteredBy, c.claimant, c.bond, c.claim, c.position, newClock(c.timeUsed, c.postedAt));
    }

    function claimDataLen() external view returns (uint256) {
        return claimList.length;
    }

    function maxGameDepth() external view returns (uint256) {
        return maxGameDepth_;
    }

    function splitDepth() external view returns (uint256) {
        return splitDepth_;
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

    function startingOutputRoot() external view returns (bytes32 root, uint256 sequenceNumber) {
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

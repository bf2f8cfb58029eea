// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {SafeTransferLib} from "solady/utils/SafeTransferLib.sol";
import {Claim, claimOf} from "../dispute/Claim.sol";
import {RequestId, requestIdOf} from "../dispute/RequestId.sol";
import {StateRoot} from "../dispute/StateRoot.sol";
import {Duration, Duration256, Timestamp, currentTimestamp} from "../dispute/Time.sol";
import {GameStatus} from "../dispute/Types.sol";
import {IDisputeGame} from "../dispute/interfaces/IDisputeGame.sol";
import {IDisputeGameFactory} from "../dispute/interfaces/IDisputeGameFactory.sol";
import {IFaultDisputeGame} from "../dispute/interfaces/IFaultDisputeGame.sol";
import {BatchTree} from "./BatchTree.sol";
import {ConsumerCall} from "./ConsumerCall.sol";
import {GameValidity} from "./GameValidity.sol";
import {ModelId} from "./ModelId.sol";
import {ArenaRoot, InputRoot, ModelRoot} from "./SectionRoot.sol";
import {SegmentTree} from "./SegmentTree.sol";
import {IInferenceOracle, ItemOutput, Request} from "./interfaces/IInferenceOracle.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";

/// @title InferenceOracle
/// @notice See IInferenceOracle. A request fixes S_0; a game for it, made at the factory, settles what S_n is; `finalize`
///         shows the output under S_n.
/// @dev Source: docs/game.md, "Requests".
contract InferenceOracle is GameValidity {
    /// @notice What the constructor takes.
    struct Config {
        IModelRegistry modelRegistry;
        IDisputeGameFactory disputeGameFactory;
        /// @notice Time between a game's resolution and its finality.
        Duration256 finalityDelay;
        /// @notice Time after which the fee of a request without output can be taken back. A dispute should fit in.
        Duration256 reclaimDelay;
        uint64 maxCallbackGas;
        uint32 respectedGameType;
        /// @notice Decides slowly: meant to be a timelock.
        address owner;
        /// @notice Stops things at once.
        address guardian;
        /// @notice Time after which a pause ends by itself.
        Duration pauseDuration;
    }

    /// @notice The first proposal of a root claim for a request.
    struct Proposal {
        IDisputeGame game;
        /// @notice The block in which it was committed to; that of the game, if it was not.
        uint64 since;
    }

    /// @dev Where the nonce is in a game's extra data: after the request id.
    uint256 internal constant NONCE_AT = 32;
    /// @dev The first byte of a nonce counts attempts, which a commitment does not look at.
    uint256 internal constant ATTEMPT_BITS = 8;
    /// @notice For how many blocks a commitment waits for its proposal: so long one has to guess ahead who wants to commit to
    ///         every possible answer.
    uint256 public constant COMMITMENT_BLOCKS = 256;

    /// @inheritdoc IInferenceOracle
    IModelRegistry public immutable modelRegistry;
    /// @inheritdoc IInferenceOracle
    Duration256 public immutable reclaimDelay;
    /// @inheritdoc IInferenceOracle
    uint64 public immutable maxCallbackGas;

    mapping(RequestId requestId => Request) internal requestOf;
    RequestId[] internal requestIds;
    /// @inheritdoc IInferenceOracle
    mapping(RequestId requestId => IDisputeGame) public anchorGameOf;
    /// @inheritdoc IInferenceOracle
    IDisputeGame public anchorGame;
    /// @inheritdoc IInferenceOracle
    mapping(bytes32 commitment => uint64 blockNumber) public committedAt;
    /// @inheritdoc IInferenceOracle
    mapping(RequestId requestId => mapping(Claim rootClaim => Proposal)) public firstProposal;
    /// @inheritdoc IInferenceOracle
    mapping(IDisputeGame game => uint64 since) public passedOver;
    /// @inheritdoc IInferenceOracle
    mapping(RequestId requestId => mapping(uint256 item => bytes32)) public itemOutputHash;

    constructor(Config memory config)
        GameValidity(
            config.disputeGameFactory,
            config.finalityDelay,
            config.respectedGameType,
            config.owner,
            config.guardian,
            config.pauseDuration
        )
    {
        modelRegistry = config.modelRegistry;
        reclaimDelay = config.reclaimDelay;
        maxCallbackGas = config.maxCallbackGas;
    }

    // ---------------------------------------------------------------- asking

    function request(ModelId modelId, bytes calldata input, address callback, uint64 callbackGas)
        external
        payable
        returns (RequestId requestId)
    {
        (ModelRoot modelRoot,, uint64 inputBytes,,,) = modelRegistry.parameters(modelId);
        if (input.length != inputBytes) revert InputSizeMismatch(input.length, inputBytes);
        InputRoot inputRoot = SegmentTree.inputRootOf(input);
        StateRoot startingRoot = SegmentTree.initialRoot(modelRoot, inputRoot);
        requestId = _addRequest(modelId, inputRoot, startingRoot, 1, callback, callbackGas);
        emit InferenceRequested(requestId, modelId, msg.sender, inputRoot, input, "", callback, callbackGas, msg.value);
    }

    function requestByRoot(
        ModelId modelId,
        InputRoot inputRoot,
        string calldata inputUri,
        address callback,
        uint64 callbackGas
    ) external payable returns (RequestId requestId) {
        (ModelRoot modelRoot,,,,,) = modelRegistry.parameters(modelId);
        StateRoot startingRoot = SegmentTree.initialRoot(modelRoot, inputRoot);
        requestId = _addRequest(modelId, inputRoot, startingRoot, 1, callback, callbackGas);
        emit InferenceRequested(
            requestId, modelId, msg.sender, inputRoot, "", inputUri, callback, callbackGas, msg.value
        );
    }

    function requestBatch(
        ModelId modelId,
        bytes calldata inputs,
        uint256 itemCount,
        address callback,
        uint64 callbackGas
    ) external payable returns (RequestId requestId) {
        (ModelRoot modelRoot,, uint64 inputBytes,,,) = modelRegistry.parameters(modelId);
        if (itemCount < BatchTree.MIN_ITEMS || itemCount > BatchTree.MAX_ITEMS) {
            revert ItemCountOutOfRange(itemCount, BatchTree.MIN_ITEMS, BatchTree.MAX_ITEMS);
        }
        if (inputs.length != inputBytes * itemCount) revert InputSizeMismatch(inputs.length, inputBytes * itemCount);
        if (msg.value % itemCount != 0) revert UnevenFee(msg.value, itemCount);
        (InputRoot inputRoot, StateRoot startingRoot) = BatchTree.initialRoots(modelRoot, inputs, itemCount);
        requestId = _addRequest(modelId, inputRoot, startingRoot, uint16(itemCount), callback, callbackGas);
        emit InferenceRequested(requestId, modelId, msg.sender, inputRoot, inputs, "", callback, callbackGas, msg.value);
    }

    function _addRequest(
        ModelId modelId,
        InputRoot inputRoot,
        StateRoot startingRoot,
        uint16 itemCount,
        address callback,
        uint64 callbackGas
    ) internal returns (RequestId requestId) {
        // Else a request could promise its consumer more gas than a block has, and no account could ever deliver.
        if (callbackGas > maxCallbackGas) revert CallbackGasTooHigh(callbackGas, maxCallbackGas);

        // Made of all that matters, so that a proposal cannot hit another request after the chain was reorganised.
        bytes memory all = abi.encode(
            block.chainid, this, requestIds.length, msg.sender, modelId, startingRoot, callback, callbackGas, msg.value
        );
        requestId = RequestId.wrap(keccak256(all));
        requestIds.push(requestId);

        Request storage added = requestOf[requestId];
        added.modelId = modelId;
        added.inputRoot = inputRoot;
        added.startingRoot = startingRoot;
        added.requester = msg.sender;
        added.requestedAt = currentTimestamp();
        added.callback = callback;
        added.callbackGas = callbackGas;
        added.fee = uint128(msg.value); // ASSUMES: there are fewer than 2^128 wei
        added.firstGameIndex = uint64(disputeGameFactory.gameCount());
        (added.itemCount, added.itemsLeft) = (itemCount, itemCount);
    }

    // ---------------------------------------------------------------- disputing

    function gameParameters(RequestId requestId)
        external
        view
        returns (StateRoot startingRoot, uint64 nodeCount, uint64 splitDepth, uint64 maxGameDepth, uint64 itemCount)
    {
        Request storage asked = requestOf[requestId];
        if (asked.requestedAt.raw() == 0) return (StateRoot.wrap(0), 0, 0, 0, 0);
        startingRoot = asked.startingRoot;
        itemCount = asked.itemCount;
        (, nodeCount,,, splitDepth, maxGameDepth) = modelRegistry.parameters(asked.modelId);
        if (itemCount != 1) {
            nodeCount *= itemCount;
            (splitDepth, maxGameDepth) = modelRegistry.batchDepths(asked.modelId, itemCount);
        }
    }

    function commit(bytes32 commitment) external {
        uint256 earlier = committedAt[commitment];
        // WHY NOT anew each time: a copy of this call, sent later, would take the proposal's place in time away.
        if (earlier != 0 && block.number - earlier <= COMMITMENT_BLOCKS) return;
        committedAt[commitment] = uint64(block.number);
        emit ProposalCommitted(commitment);
    }

    function commitmentOf(RequestId requestId, Claim rootClaim, bytes32 nonce, address proposer)
        public
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(requestId, rootClaim, nonce << ATTEMPT_BITS, proposer));
    }

    function recordProposal(uint32 gameType, Claim rootClaim, bytes calldata extraData, address proposer) external {
        RequestId requestId = requestIdOf(extraData);
        if (requestOf[requestId].fee == 0 || gameType != respectedGameType) return;
        // INVARIANT: the factory made the caller, so it is a game and tells the truth about who made it.
        (IDisputeGame known,) = disputeGameFactory.games(gameType, rootClaim, extraData);
        if (address(known) != msg.sender) revert NotAGame(msg.sender);

        bytes32 nonce = extraData.length > NONCE_AT ? bytes32(extraData[NONCE_AT:]) : bytes32(0);
        uint64 since = committedAt[commitmentOf(requestId, rootClaim, nonce, proposer)];
        if (since == 0 || block.number - since > COMMITMENT_BLOCKS) since = uint64(block.number);

        Proposal storage first = firstProposal[requestId][rootClaim];
        if (_comesAfter(since, first)) passedOver[known] = since;
        else _record(requestId, rootClaim, known, since);
    }

    function restoreProposal(IDisputeGame game) external {
        if (!mayBeRestored(game)) revert NotRestorable(game);
        _record(requestIdOf(game.extraData()), game.rootClaim(), game, passedOver[game]);
    }

    function mayBeRestored(IDisputeGame game) public view returns (bool) {
        uint64 since = passedOver[game];
        // INVARIANT: only games of the factory are passed over, so the game tells the truth about itself.
        if (since == 0 || _isLost(game)) return false;
        RequestId requestId = requestIdOf(game.extraData());
        if (requestOf[requestId].fee == 0) return false; // it is paid or taken back: the place is worth nothing
        return !_comesAfter(since, firstProposal[requestId][game.rootClaim()]);
    }

    /// @dev Whether a game that counts from `since` has no better right than the one that is recorded.
    function _comesAfter(uint64 since, Proposal storage first) internal view returns (bool) {
        return address(first.game) != address(0) && first.since <= since && !_isLost(first.game);
    }

    function _record(RequestId requestId, Claim rootClaim, IDisputeGame game, uint64 since) internal {
        Proposal storage first = firstProposal[requestId][rootClaim];
        if (address(first.game) != address(0)) passedOver[first.game] = first.since;
        (first.game, first.since) = (game, since);
        emit ProposalRecorded(requestId, rootClaim, game, since);
    }

    /// @dev The challenger won, or the guardian discarded it.
    function _isLost(IDisputeGame game) internal view returns (bool) {
        return game.status() == GameStatus.CHALLENGER_WINS || isGameBlacklisted(game) || isGameRetired(game);
    }

    function setAnchorState(IDisputeGame game) external {
        RequestId requestId = requestIdOf(game.extraData());
        if (!isGameClaimValid(game) || address(anchorGameOf[requestId]) != address(0)) {
            revert AnchorStateRegistry_InvalidAnchorGame();
        }
        anchorGameOf[requestId] = game;
        anchorGame = game;
        emit AnchorUpdated(game);
    }

    // ---------------------------------------------------------------- delivering

    function finalize(RequestId requestId, IDisputeGame game, bytes calldata output, ArenaRoot arenaRoot) external {
        Request storage asked = _known(requestId);
        if (address(asked.deliveredBy) != address(0)) revert AlreadyDelivered(requestId, asked.deliveredBy);
        _requireDecides(game, requestId);

        Claim computed = claimOf(finalRoot(requestId, output, arenaRoot));
        if (computed != game.rootClaim()) revert StateRootMismatch(computed.asStateRoot(), game.rootClaim());

        // Everything is settled before money or control leaves, so calling back gains nothing.
        uint256 fee = asked.fee;
        asked.fee = 0;
        asked.deliveredBy = game;
        asked.outputHash = keccak256(output);
        emit InferenceDelivered(requestId, asked.modelId, game, output);
        _payFee(requestId, computed, game, fee);
        ConsumerCall.make(requestId, requestId, asked, output);
    }

    function finalizeItems(RequestId requestId, IDisputeGame game, ItemOutput[] calldata outputs) external {
        Request storage asked = _known(requestId);
        if (asked.itemCount == 1) revert WrongKindOfRequest(requestId, 1);
        _requireDecides(game, requestId);

        Claim rootClaim = game.rootClaim();
        uint256 shares = 0;
        for (uint256 i = 0; i < outputs.length; ++i) {
            // WHY NOT refuse: an account that delivers one of them just before would then stop all others.
            if (itemOutputHash[requestId][outputs[i].item] == bytes32(0)) {
                shares += _deliverItem(requestId, asked, game, rootClaim, outputs[i]);
            }
        }
        _payFee(requestId, rootClaim, game, shares);
    }

    /// @return share The item's share of the fee, to be paid.
    function _deliverItem(
        RequestId requestId,
        Request storage asked,
        IDisputeGame game,
        Claim rootClaim,
        ItemOutput calldata given
    ) internal returns (uint256 share) {
        uint256 height = BatchTree.height(asked.itemCount);
        if (given.item >= asked.itemCount || given.siblings.length != height) {
            revert UnknownItem(given.item, asked.itemCount);
        }
        // The input root needs no proof of its own: it is under the root claim, which is right.
        StateRoot itemRoot = _finalRoot(asked, given.inputRoot, given.output, given.arenaRoot);
        Claim computed = claimOf(BatchTree.rootWith(itemRoot, given.item, given.siblings));
        if (computed != rootClaim) revert StateRootMismatch(computed.asStateRoot(), rootClaim);

        // Everything is settled before money or control leaves, so calling back gains nothing.
        itemOutputHash[requestId][given.item] = keccak256(given.output);
        share = asked.fee / asked.itemsLeft;
        asked.fee -= uint128(share);
        if (--asked.itemsLeft == 0) asked.deliveredBy = game;
        emit ItemDelivered(requestId, given.item, game, given.output);
        ConsumerCall.make(requestId, itemRequestId(requestId, given.item), asked, given.output);
    }

    function _payFee(RequestId requestId, Claim rootClaim, IDisputeGame delivering, uint256 fee) internal {
        if (fee == 0) return;
        address proposer = _firstProposerOf(requestId, rootClaim, delivering);
        emit FeePaid(requestId, proposer, fee);
        SafeTransferLib.forceSafeTransferETH(proposer, fee); // also to a proposer that refuses it
    }

    function itemRequestId(RequestId requestId, uint256 item) public pure returns (RequestId) {
        return RequestId.wrap(keccak256(abi.encode(requestId, item)));
    }

    /// @dev Who knew first that `rootClaim` is the answer, as far as known; else the creator of the game that delivers it.
    function _firstProposerOf(RequestId requestId, Claim rootClaim, IDisputeGame delivering)
        internal
        view
        returns (address)
    {
        Proposal storage first = firstProposal[requestId][rootClaim];
        uint64 since = passedOver[delivering];
        // WHY NOT the recorded one in any case: it may have been made a moment ago, in the place of one that fell.
        bool isFirst = address(first.game) != address(0) && !_isLost(first.game) && (since == 0 || first.since <= since);
        return (isFirst ? first.game : delivering).gameCreator();
    }

    /// @dev The game is about this request, and it survived.
    function _requireDecides(IDisputeGame game, RequestId requestId) internal view {
        // First of all: only what the factory made is known to answer the truth about itself.
        if (!isGameClaimValid(game)) revert GameNotValid(game);
        address registry = address(IFaultDisputeGame(address(game)).anchorStateRegistry());
        if (registry != address(this)) revert GameOfOtherRegistry(registry, address(this));
        RequestId about = requestIdOf(game.extraData());
        if (about != requestId) revert GameForOtherRequest(about, requestId);
    }

    function reclaimFee(RequestId requestId) external {
        Request storage asked = _known(requestId);
        if (msg.sender != asked.requester) revert NotRequester(msg.sender, asked.requester);
        uint256 fee = asked.fee;
        if (fee == 0) revert NoFee(requestId);
        uint256 deadline = asked.requestedAt.raw() + reclaimDelay.raw();
        if (block.timestamp < deadline) revert ReclaimTooEarly(block.timestamp, deadline);
        asked.fee = 0;
        emit FeeReclaimed(requestId, msg.sender, fee);
        SafeTransferLib.forceSafeTransferETH(msg.sender, fee);
    }

    // ---------------------------------------------------------------- looking up

    function requests(RequestId requestId) external view returns (Request memory) {
        return _known(requestId);
    }

    function requestCount() external view returns (uint256) {
        return requestIds.length;
    }

    function requestIdAtIndex(uint256 index) external view returns (RequestId) {
        return requestIds[index];
    }

    function gamesOf(RequestId requestId, uint256 start, uint256 maxScan)
        external
        view
        returns (IDisputeGame[] memory games, uint256 next)
    {
        uint256 first = _known(requestId).firstGameIndex;
        uint256 end = disputeGameFactory.gameCount();
        next = start < first ? first : start;
        if (next > end) next = end;
        if (end - next > maxScan) end = next + maxScan;

        games = new IDisputeGame[](end - next);
        uint256 found = 0;
        for (; next < end; ++next) {
            (,, IDisputeGame game) = disputeGameFactory.gameAtIndex(next);
            if (requestIdOf(game.extraData()) == requestId) games[found++] = game;
        }
        assembly ("memory-safe") {
            mstore(games, found) // found <= the length allocated
        }
    }

    function getAnchorRoot() external view returns (Claim root, uint256 l2SequenceNumber) {
        if (address(anchorGame) == address(0)) return (Claim.wrap(bytes32(0)), 0);
        return (anchorGame.rootClaim(), anchorGame.l2SequenceNumber());
    }

    function finalRoot(RequestId requestId, bytes calldata output, ArenaRoot arenaRoot)
        public
        view
        returns (StateRoot)
    {
        Request storage asked = _known(requestId);
        if (asked.itemCount != 1) revert WrongKindOfRequest(requestId, asked.itemCount);
        return _finalRoot(asked, asked.inputRoot, output, arenaRoot);
    }

    function _finalRoot(Request storage asked, InputRoot inputRoot, bytes calldata output, ArenaRoot arenaRoot)
        internal
        view
        returns (StateRoot)
    {
        (ModelRoot modelRoot, uint64 nodeCount,, uint64 outputBytes,,) = modelRegistry.parameters(asked.modelId);
        if (output.length != outputBytes) revert OutputSizeMismatch(output.length, outputBytes);
        return SegmentTree.finalRoot(modelRoot, nodeCount, inputRoot, output, arenaRoot);
    }

    function version() external pure returns (string memory) {
        return "1.0.0";
    }

    function _known(RequestId requestId) internal view returns (Request storage asked) {
        asked = requestOf[requestId];
        // INVARIANT: a request was made at some time.
        if (asked.requestedAt.raw() == 0) revert UnknownRequest(requestId);
    }
}

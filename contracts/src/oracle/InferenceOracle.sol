// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {LibCall} from "solady/utils/LibCall.sol";
import {SafeTransferLib} from "solady/utils/SafeTransferLib.sol";
import {Claim, claimOf} from "../dispute/Claim.sol";
import {RequestId, requestIdOf} from "../dispute/RequestId.sol";
import {StateRoot} from "../dispute/StateRoot.sol";
import {Duration, Duration256, Timestamp, currentTimestamp} from "../dispute/Time.sol";
import {GameStatus} from "../dispute/Types.sol";
import {IDisputeGame} from "../dispute/interfaces/IDisputeGame.sol";
import {IDisputeGameFactory} from "../dispute/interfaces/IDisputeGameFactory.sol";
import {IFaultDisputeGame} from "../dispute/interfaces/IFaultDisputeGame.sol";
import {GameValidity} from "./GameValidity.sol";
import {ModelId} from "./ModelId.sol";
import {ArenaRoot, InputRoot, ModelRoot} from "./SectionRoot.sol";
import {SegmentTree} from "./SegmentTree.sol";
import {IInferenceConsumer} from "./interfaces/IInferenceConsumer.sol";
import {IInferenceOracle, Request} from "./interfaces/IInferenceOracle.sol";
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

    /// @dev Gas spent between the check and the consumer's first instruction, and after its last, at most.
    uint256 internal constant CALLBACK_OVERHEAD_GAS = 20_000;
    /// @dev A call leaves its caller the gas that is left, less 63 of 64 parts of it.
    uint256 internal constant CALLED_GAS_PARTS = 63;
    /// @dev Where the nonce is in a game's extra data: after the request id.
    uint256 internal constant NONCE_AT = 32;
    /// @dev The number of bytes of a consumer's revert reason that are recorded.
    uint16 internal constant MAX_REASON_BYTES = 256;
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
        (,, uint64 inputBytes,,,) = modelRegistry.parameters(modelId);
        if (input.length != inputBytes) revert InputSizeMismatch(input.length, inputBytes);
        InputRoot inputRoot = SegmentTree.inputRootOf(input);
        requestId = _addRequest(modelId, inputRoot, callback, callbackGas);
        emit InferenceRequested(requestId, modelId, msg.sender, inputRoot, input, "", callback, callbackGas, msg.value);
    }

    function requestByRoot(
        ModelId modelId,
        InputRoot inputRoot,
        string calldata inputUri,
        address callback,
        uint64 callbackGas
    ) external payable returns (RequestId requestId) {
        requestId = _addRequest(modelId, inputRoot, callback, callbackGas);
        emit InferenceRequested(
            requestId, modelId, msg.sender, inputRoot, "", inputUri, callback, callbackGas, msg.value
        );
    }

    function _addRequest(ModelId modelId, InputRoot inputRoot, address callback, uint64 callbackGas)
        internal
        returns (RequestId requestId)
    {
        (ModelRoot modelRoot,,,,,) = modelRegistry.parameters(modelId);
        // Else a request could promise its consumer more gas than a block has, and no account could ever deliver.
        if (callbackGas > maxCallbackGas) revert CallbackGasTooHigh(callbackGas, maxCallbackGas);

        // Made of all that matters, so that a proposal cannot hit another request after the chain was reorganised.
        bytes memory all = abi.encode(
            block.chainid, this, requestIds.length, msg.sender, modelId, inputRoot, callback, callbackGas, msg.value
        );
        requestId = RequestId.wrap(keccak256(all));
        requestIds.push(requestId);

        Request storage added = requestOf[requestId];
        added.modelId = modelId;
        added.inputRoot = inputRoot;
        added.startingRoot = SegmentTree.initialRoot(modelRoot, inputRoot);
        added.requester = msg.sender;
        added.requestedAt = currentTimestamp();
        added.callback = callback;
        added.callbackGas = callbackGas;
        added.fee = uint128(msg.value); // ASSUMES: there are fewer than 2^128 wei
        added.firstGameIndex = uint64(disputeGameFactory.gameCount());
    }

    // ---------------------------------------------------------------- disputing

    function gameParameters(RequestId requestId)
        external
        view
        returns (StateRoot startingRoot, uint64 nodeCount, uint64 splitDepth, uint64 maxGameDepth)
    {
        Request storage asked = requestOf[requestId];
        if (asked.requestedAt.raw() == 0) return (StateRoot.wrap(0), 0, 0, 0);
        startingRoot = asked.startingRoot;
        (, nodeCount,,, splitDepth, maxGameDepth) = modelRegistry.parameters(asked.modelId);
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
        return keccak256(abi.encode(requestId, rootClaim, nonce, proposer));
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
        if (fee != 0) {
            address proposer = _firstProposerOf(requestId, computed, game);
            emit FeePaid(requestId, proposer, fee);
            SafeTransferLib.forceSafeTransferETH(proposer, fee); // also to a proposer that refuses it
        }
        if (asked.callback != address(0)) _callConsumer(requestId, asked, output);
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

    /// @dev Neither a consumer's failure nor its return data, whatever their size, can block a delivery.
    function _callConsumer(RequestId requestId, Request storage asked, bytes calldata output) internal {
        (address callback, uint256 callbackGas) = (asked.callback, asked.callbackGas);
        bytes memory call = abi.encodeCall(IInferenceConsumer.onInference, (requestId, asked.modelId, output));
        // A call gets at most 63 of 64 parts of the gas that is left. The caller of `finalize` must bring enough, or
        // could deliver past the consumer.
        uint256 needed = callbackGas + callbackGas / CALLED_GAS_PARTS + CALLBACK_OVERHEAD_GAS;
        if (gasleft() < needed) revert CallbackGasShort(gasleft(), needed);
        (bool success,, bytes memory reason) = LibCall.tryCall(callback, 0, callbackGas, MAX_REASON_BYTES, call);
        success = success && callback.code.length != 0;
        emit CallbackCalled(requestId, callback, success, success ? bytes("") : reason);
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
        (ModelRoot modelRoot, uint64 nodeCount,, uint64 outputBytes,,) = modelRegistry.parameters(asked.modelId);
        if (output.length != outputBytes) revert OutputSizeMismatch(output.length, outputBytes);
        return SegmentTree.finalRoot(modelRoot, nodeCount, asked.inputRoot, output, arenaRoot);
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

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {SafeCastLib} from "solady/utils/SafeCastLib.sol";
import {SafeTransferLib} from "solady/utils/SafeTransferLib.sol";
import {RequestId, requestIdOf} from "../dispute/RequestId.sol";
import {StateRoot} from "../dispute/StateRoot.sol";
import {Duration256, currentTimestamp} from "../dispute/Time.sol";
import {IDisputeGame} from "../dispute/interfaces/IDisputeGame.sol";
import {BatchTree} from "./BatchTree.sol";
import {GameValidity} from "./GameValidity.sol";
import {ModelId} from "./ModelId.sol";
import {InputRoot, ModelRoot} from "./SectionRoot.sol";
import {SegmentRoots} from "./SegmentRoots.sol";
import {IInferenceOracle, Request, RequestTerms} from "./interfaces/IInferenceOracle.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";
import {ISegmentRoots} from "./interfaces/ISegmentRoots.sol";

/// @title Requests: asking, looking up, the fee back
/// @notice A request fixes S_0 and the depths of its games. Its fee is held here.
/// @dev Source: docs/game.md, "Requests".
abstract contract Requests is GameValidity {
    /// @inheritdoc IInferenceOracle
    IModelRegistry public immutable modelRegistry;
    /// @inheritdoc IInferenceOracle
    Duration256 public immutable reclaimDelay;
    /// @inheritdoc IInferenceOracle
    uint64 public immutable maxCallbackGas;
    /// @inheritdoc IInferenceOracle
    uint16 public constant MAX_DEFENDERS_BPS = 5_000;
    /// @inheritdoc IInferenceOracle
    ISegmentRoots public immutable segmentRoots;

    mapping(RequestId requestId => Request) internal requestOf;
    RequestId[] internal requestIds;

    constructor(IModelRegistry modelRegistry_, Duration256 reclaimDelay_, uint64 maxCallbackGas_) {
        modelRegistry = modelRegistry_;
        reclaimDelay = reclaimDelay_;
        maxCallbackGas = maxCallbackGas_;
        segmentRoots = new SegmentRoots();
    }

    // ---------------------------------------------------------------- asking

    function request(ModelId modelId, bytes calldata input, RequestTerms calldata terms)
        external
        payable
        returns (RequestId requestId)
    {
        (ModelRoot modelRoot,, uint64 inputBytes,,,) = modelRegistry.parameters(modelId);
        if (input.length != inputBytes) revert InputSizeMismatch(input.length, inputBytes);
        (InputRoot inputRoot, StateRoot startingRoot) = segmentRoots.initialRoots(modelRoot, input, 1);
        requestId = _addRequest(modelId, inputRoot, startingRoot, 1, terms);
        emit InferenceRequested(requestId, modelId, msg.sender, inputRoot, input, "", terms, msg.value);
    }

    function requestByRoot(ModelId modelId, InputRoot inputRoot, string calldata inputUri, RequestTerms calldata terms)
        external
        payable
        returns (RequestId requestId)
    {
        (ModelRoot modelRoot,,,,,) = modelRegistry.parameters(modelId);
        StateRoot startingRoot = segmentRoots.initialRoot(modelRoot, inputRoot);
        requestId = _addRequest(modelId, inputRoot, startingRoot, 1, terms);
        emit InferenceRequested(requestId, modelId, msg.sender, inputRoot, "", inputUri, terms, msg.value);
    }

    function requestBatch(ModelId modelId, bytes calldata inputs, uint256 itemCount, RequestTerms calldata terms)
        external
        payable
        returns (RequestId requestId)
    {
        (ModelRoot modelRoot,, uint64 inputBytes,,,) = modelRegistry.parameters(modelId);
        if (itemCount < BatchTree.MIN_ITEMS || itemCount > BatchTree.MAX_ITEMS) {
            revert ItemCountOutOfRange(itemCount, BatchTree.MIN_ITEMS, BatchTree.MAX_ITEMS);
        }
        if (inputs.length != inputBytes * itemCount) revert InputSizeMismatch(inputs.length, inputBytes * itemCount);
        if (msg.value % itemCount != 0) revert UnevenFee(msg.value, itemCount);
        (InputRoot inputRoot, StateRoot startingRoot) = segmentRoots.initialRoots(modelRoot, inputs, itemCount);
        requestId = _addRequest(modelId, inputRoot, startingRoot, uint16(itemCount), terms);
        emit InferenceRequested(requestId, modelId, msg.sender, inputRoot, inputs, "", terms, msg.value);
    }

    function _addRequest(
        ModelId modelId,
        InputRoot inputRoot,
        StateRoot startingRoot,
        uint16 itemCount,
        RequestTerms calldata terms
    ) internal returns (RequestId requestId) {
        // Else a request could promise its consumer more gas than a block has, and no account could ever deliver.
        if (terms.callbackGas > maxCallbackGas) revert CallbackGasTooHigh(terms.callbackGas, maxCallbackGas);

        if (terms.defendersBps > MAX_DEFENDERS_BPS) revert DefendersBpsTooHigh(terms.defendersBps, MAX_DEFENDERS_BPS);

        // Made of all that matters, so that a proposal cannot hit another request after the chain was reorganised.
        bytes memory all =
            abi.encode(block.chainid, this, requestIds.length, msg.sender, modelId, startingRoot, terms, msg.value);
        requestId = RequestId.wrap(keccak256(all));
        requestIds.push(requestId);

        Request storage added = requestOf[requestId];
        added.modelId = modelId;
        added.inputRoot = inputRoot;
        added.startingRoot = startingRoot;
        added.requester = msg.sender;
        added.requestedAt = currentTimestamp();
        added.callback = terms.callback;
        added.callbackGas = terms.callbackGas;
        added.outputByRoot = terms.outputByRoot;
        added.defendersBps = terms.defendersBps;
        added.minBond = terms.minBond;
        added.fee = SafeCastLib.toUint96(msg.value);
        added.firstGameIndex = SafeCastLib.toUint32(disputeGameFactory.gameCount());
        (added.itemCount, added.itemsLeft) = (itemCount, itemCount);
    }

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

    // ---------------------------------------------------------------- the fee back

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

    function _known(RequestId requestId) internal view returns (Request storage asked) {
        asked = requestOf[requestId];
        // INVARIANT: a request was made at some time.
        if (asked.requestedAt.raw() == 0) revert UnknownRequest(requestId);
    }
}

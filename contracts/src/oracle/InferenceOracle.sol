// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {SafeTransferLib} from "solady/utils/SafeTransferLib.sol";
import {ALL_BPS} from "../dispute/Bond.sol";
import {Claim, claimOf} from "../dispute/Claim.sol";
import {RequestId, requestIdOf} from "../dispute/RequestId.sol";
import {StateRoot} from "../dispute/StateRoot.sol";
import {Duration, Duration256} from "../dispute/Time.sol";
import {IDisputeGame} from "../dispute/interfaces/IDisputeGame.sol";
import {IDisputeGameFactory} from "../dispute/interfaces/IDisputeGameFactory.sol";
import {IFaultDisputeGame} from "../dispute/interfaces/IFaultDisputeGame.sol";
import {BatchTree} from "./BatchTree.sol";
import {ConsumerCall} from "./ConsumerCall.sol";
import {DefenderShares} from "./DefenderShares.sol";
import {GameValidity} from "./GameValidity.sol";
import {Proposals} from "./Proposals.sol";
import {Requests} from "./Requests.sol";
import {ArenaRoot, InputRoot, ModelRoot, OutputRoot} from "./SectionRoot.sol";
import {IDefenderShares} from "./interfaces/IDefenderShares.sol";
import {IInferenceOracle, ItemOutput, Request} from "./interfaces/IInferenceOracle.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";

/// @title InferenceOracle
/// @notice See IInferenceOracle. A request fixes S_0; a game for it, made at the factory, settles what S_n is; `finalize`
///         shows the output under S_n. In order of inheritance: which games count, requests, proposals, and here deliveries.
/// @dev Source: docs/game.md, "Requests".
contract InferenceOracle is Proposals {
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

    /// @dev What a delivery needs of a model.
    struct ModelFacts {
        ModelRoot modelRoot;
        uint64 nodeCount;
        uint64 outputBytes;
    }

    /// @inheritdoc IInferenceOracle
    IDefenderShares public immutable defenderShares;

    /// @inheritdoc IInferenceOracle
    mapping(RequestId requestId => mapping(uint256 item => OutputRoot)) public itemOutputRoot;

    constructor(Config memory config)
        GameValidity(
            config.disputeGameFactory,
            config.finalityDelay,
            config.respectedGameType,
            config.owner,
            config.guardian,
            config.pauseDuration
        )
        Requests(config.modelRegistry, config.reclaimDelay, config.maxCallbackGas)
    {
        defenderShares = new DefenderShares();
    }

    // ---------------------------------------------------------------- delivering

    function finalize(RequestId requestId, IDisputeGame game, bytes calldata output, ArenaRoot arenaRoot) external {
        Request storage asked = _undelivered(requestId, game, false);
        ModelFacts memory model = _factsOf(asked);
        (Claim rootClaim, uint256 fee) = _settle(asked, game, model, _outputRoot(model, output), arenaRoot);
        emit InferenceDelivered(requestId, asked.modelId, game, output);
        _payFee(requestId, asked, rootClaim, game, fee);
        ConsumerCall.hand(requestId, requestId, asked, output);
    }

    function finalizeByRoot(RequestId requestId, IDisputeGame game, OutputRoot outputRoot, ArenaRoot arenaRoot)
        external
    {
        Request storage asked = _undelivered(requestId, game, true);
        (Claim rootClaim, uint256 fee) = _settle(asked, game, _factsOf(asked), outputRoot, arenaRoot);
        emit InferenceDeliveredByRoot(requestId, asked.modelId, game, outputRoot);
        _payFee(requestId, asked, rootClaim, game, fee);
        ConsumerCall.handRoot(requestId, requestId, asked, outputRoot);
    }

    /// @dev A request of one item that the game may deliver now.
    function _undelivered(RequestId requestId, IDisputeGame game, bool byRoot)
        internal
        view
        returns (Request storage asked)
    {
        asked = _known(requestId);
        if (address(asked.deliveredBy) != address(0)) revert AlreadyDelivered(requestId, asked.deliveredBy);
        _requireDecides(game, requestId);
        if (asked.itemCount != 1) revert WrongKindOfRequest(requestId, asked.itemCount);
        // Else an account could keep from a consumer the bytes, or the root, that it was made for.
        if (asked.outputByRoot != byRoot) revert WrongDelivery(requestId, asked.outputByRoot);
    }

    /// @dev Everything is settled before money or control leaves, so calling back gains nothing.
    /// @return rootClaim What the output leads to: the game's root claim.
    /// @return fee To be paid.
    function _settle(
        Request storage asked,
        IDisputeGame game,
        ModelFacts memory model,
        OutputRoot outputRoot,
        ArenaRoot arenaRoot
    ) internal returns (Claim rootClaim, uint256 fee) {
        rootClaim = claimOf(_finalRoot(model, asked.inputRoot, outputRoot, arenaRoot));
        if (rootClaim != game.rootClaim()) revert StateRootMismatch(rootClaim.asStateRoot(), game.rootClaim());
        fee = asked.fee;
        asked.fee = 0;
        asked.deliveredBy = game;
        asked.outputRoot = outputRoot;
    }

    function finalizeItems(RequestId requestId, IDisputeGame game, ItemOutput[] calldata outputs) external {
        Request storage asked = _known(requestId);
        if (asked.itemCount == 1) revert WrongKindOfRequest(requestId, 1);
        _requireDecides(game, requestId);

        Claim rootClaim = game.rootClaim();
        ModelFacts memory model = _factsOf(asked);
        uint256 shares = 0;
        for (uint256 i = 0; i < outputs.length; ++i) {
            // WHY NOT refuse: an account that delivers one of them just before would then stop all others.
            if (OutputRoot.unwrap(itemOutputRoot[requestId][outputs[i].item]) == bytes32(0)) {
                shares += _deliverItem(requestId, asked, game, rootClaim, model, outputs[i]);
            }
        }
        _payFee(requestId, asked, rootClaim, game, shares);
    }

    /// @return share The item's share of the fee, to be paid.
    function _deliverItem(
        RequestId requestId,
        Request storage asked,
        IDisputeGame game,
        Claim rootClaim,
        ModelFacts memory model,
        ItemOutput calldata given
    ) internal returns (uint256 share) {
        uint256 height = BatchTree.height(asked.itemCount);
        if (given.item >= asked.itemCount || given.siblings.length != height) {
            revert UnknownItem(given.item, asked.itemCount);
        }
        bool byRoot = asked.outputByRoot;
        OutputRoot outputRoot = byRoot ? given.outputRoot : _outputRoot(model, given.output);
        // The input root needs no proof of its own: it is under the root claim, which is right.
        StateRoot itemRoot = _finalRoot(model, given.inputRoot, outputRoot, given.arenaRoot);
        Claim computed = claimOf(segmentRoots.batchRoot(itemRoot, given.item, given.siblings));
        if (computed != rootClaim) revert StateRootMismatch(computed.asStateRoot(), rootClaim);

        // Everything is settled before money or control leaves, so calling back gains nothing.
        itemOutputRoot[requestId][given.item] = outputRoot;
        share = asked.fee / asked.itemsLeft;
        asked.fee -= uint96(share);
        if (--asked.itemsLeft == 0) asked.deliveredBy = game;
        RequestId told = itemRequestId(requestId, given.item);
        if (byRoot) {
            emit ItemDeliveredByRoot(requestId, given.item, game, outputRoot);
            ConsumerCall.handRoot(requestId, told, asked, outputRoot);
        } else {
            emit ItemDelivered(requestId, given.item, game, given.output);
            ConsumerCall.hand(requestId, told, asked, given.output);
        }
    }

    /// @dev Pays the first proposer, after the part that defenders of the game which delivers may get was taken off.
    function _payFee(RequestId requestId, Request storage asked, Claim rootClaim, IDisputeGame delivering, uint256 fee)
        internal
    {
        if (fee == 0) return;
        uint256 defendersBps = asked.defendersBps;
        if (defendersBps != 0) fee -= _keepShare(delivering, fee * defendersBps / ALL_BPS);
        address proposer = _firstProposerOf(requestId, rootClaim, delivering);
        emit FeePaid(requestId, proposer, fee);
        SafeTransferLib.forceSafeTransferETH(proposer, fee); // also to a proposer that refuses it
    }

    /// @dev Keeps as much of `share` as the game's lost claims allow: nothing if none was lost.
    function _keepShare(IDisputeGame delivering, uint256 share) internal returns (uint256 kept) {
        IFaultDisputeGame game = IFaultDisputeGame(address(delivering));
        uint256 room = defenderShares.roomOf(game);
        kept = share < room ? share : room;
        if (kept != 0) defenderShares.book{value: kept}(game);
    }

    function itemRequestId(RequestId requestId, uint256 item) public pure returns (RequestId) {
        return RequestId.wrap(keccak256(abi.encode(requestId, item)));
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

    function finalRoot(RequestId requestId, bytes calldata output, ArenaRoot arenaRoot)
        public
        view
        returns (StateRoot)
    {
        Request storage asked = _known(requestId);
        if (asked.itemCount != 1) revert WrongKindOfRequest(requestId, asked.itemCount);
        ModelFacts memory model = _factsOf(asked);
        return _finalRoot(model, asked.inputRoot, _outputRoot(model, output), arenaRoot);
    }

    function _factsOf(Request storage asked) internal view returns (ModelFacts memory model) {
        (model.modelRoot, model.nodeCount,, model.outputBytes,,) = modelRegistry.parameters(asked.modelId);
    }

    /// @dev The root of an output image, which has the size that the model's program header names.
    function _outputRoot(ModelFacts memory model, bytes calldata output) internal view returns (OutputRoot) {
        if (output.length != model.outputBytes) revert OutputSizeMismatch(output.length, model.outputBytes);
        return segmentRoots.outputRoot(output);
    }

    function _finalRoot(ModelFacts memory model, InputRoot inputRoot, OutputRoot outputRoot, ArenaRoot arenaRoot)
        internal
        view
        returns (StateRoot)
    {
        return segmentRoots.finalRoot(model.modelRoot, model.nodeCount, inputRoot, outputRoot, arenaRoot);
    }

    function version() external pure returns (string memory) {
        return "1.0.0";
    }
}

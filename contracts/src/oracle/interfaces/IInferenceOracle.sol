// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Claim} from "../../dispute/Claim.sol";
import {RequestId} from "../../dispute/RequestId.sol";
import {StateRoot} from "../../dispute/StateRoot.sol";
import {Duration, Duration256, Timestamp, Timestamp256} from "../../dispute/Time.sol";
import {IDisputeGame} from "../../dispute/interfaces/IDisputeGame.sol";
import {IDisputeGameFactory} from "../../dispute/interfaces/IDisputeGameFactory.sol";
import {IGameRegistry} from "../../dispute/interfaces/IGameRegistry.sol";
import {ModelId} from "../ModelId.sol";
import {ArenaRoot, InputRoot, OutputRoot} from "../SectionRoot.sol";
import {IDefenderShares} from "./IDefenderShares.sol";
import {IModelRegistry} from "./IModelRegistry.sol";
import {IProposerBonds} from "./IProposerBonds.sol";
import {ISegmentRoots} from "./ISegmentRoots.sol";

/// @notice What a requester asks for beside the inference.
struct RequestTerms {
    /// @notice The consumer to call with the output: an IInferenceConsumer, or an IInferenceRootConsumer if it asks for the
    ///         output by root; zero for none.
    address callback;
    /// @notice Gas of that call, at most `maxCallbackGas`.
    uint64 callbackGas;
    /// @notice Whether the output is delivered as the root of its section, for parts to be proven later. For outputs that
    ///         no transaction can carry.
    bool outputByRoot;
    /// @notice What a proposer has to lock on its answer beside the root claim's bond, in wei: see IProposerBonds.
    uint96 minBond;
    /// @notice The part of the fee, in ten-thousandths, that those who defended the answer get at most: see IDefenderShares. At
    ///         most MAX_DEFENDERS_BPS.
    uint16 defendersBps;
}

/// @notice A requester's wish for one inference.
struct Request {
    ModelId modelId;
    /// @notice Root of the INPUT section, 2^36 bytes; for a batch, of its items' sections side by side.
    InputRoot inputRoot;
    /// @notice The state root S_0.
    StateRoot startingRoot;
    /// @notice The requester, which gets the fee back if nothing is delivered.
    address requester;
    /// @notice When the request was made.
    Timestamp requestedAt;
    /// @notice See RequestTerms, for the next three as well.
    address callback;
    uint64 callbackGas;
    bool outputByRoot;
    uint16 defendersBps;
    /// @notice The fee in wei for the proposer of the right root claim and its defenders; 0 once paid or reclaimed.
    uint96 fee;
    /// @notice See RequestTerms.
    uint96 minBond;
    /// @notice Number of games that the factory had made before: proposals for this request come after.
    uint32 firstGameIndex;
    /// @notice The number of items: 1 unless the request is a batch.
    uint16 itemCount;
    /// @notice The number of items of a batch without output.
    uint16 itemsLeft;
    /// @notice The game that delivered, for a batch its last item; zero before.
    IDisputeGame deliveredBy;
    /// @notice Root of the OUTPUT section delivered, 2^36 bytes: the output image, then zeros. Zero before, and for a batch.
    OutputRoot outputRoot;
}

/// @notice The output of one item of a batch, with its proof.
struct ItemOutput {
    uint256 item;
    /// @notice The output image, if the request did not ask for the root.
    bytes output;
    /// @notice Root of the OUTPUT section in the item's final state, if it did.
    OutputRoot outputRoot;
    /// @notice Root of the INPUT section in the item's final state.
    InputRoot inputRoot;
    /// @notice Root of its ARENA section.
    ArenaRoot arenaRoot;
    /// @notice What stands beside the item's final state in the tree of the batch, lowest first.
    bytes32[] siblings;
}

/// @title Requests for inferences, their disputes and deliveries
/// @notice A request names a model and an input. A proposal is a game that anyone makes for it at the factory, with the
///         request id as extra data; any number may compete. The first that survives delivers, with the output itself.
///         This contract also stands in the anchor state registry's place: it tells games where their trace starts, and
///         everyone which games count.
/// @dev Source: docs/game.md, "Requests" and "Which games count".
interface IInferenceOracle is IGameRegistry {
    // ---------------------------------------------------------------- events

    /// @param input The input image; of a batch those of its items, one behind the other; empty if the request gave its root only.
    event InferenceRequested(
        RequestId indexed requestId,
        ModelId indexed modelId,
        address indexed requester,
        InputRoot inputRoot,
        bytes input,
        string inputUri,
        RequestTerms terms,
        uint256 fee
    );
    event InferenceDelivered(
        RequestId indexed requestId, ModelId indexed modelId, IDisputeGame indexed game, bytes output
    );
    /// @notice The output of a request that asked for its root.
    event InferenceDeliveredByRoot(
        RequestId indexed requestId, ModelId indexed modelId, IDisputeGame indexed game, OutputRoot outputRoot
    );
    /// @notice The output of one item of a batch.
    event ItemDelivered(RequestId indexed requestId, uint256 indexed item, IDisputeGame indexed game, bytes output);
    /// @notice The output of one item of a batch that asked for roots.
    event ItemDeliveredByRoot(
        RequestId indexed requestId, uint256 indexed item, IDisputeGame indexed game, OutputRoot outputRoot
    );
    /// @notice The consumer was called. `reason` is what it reverted with, cut to 256 bytes; empty if it succeeded or has no
    ///         code.
    event CallbackCalled(RequestId indexed requestId, address indexed callback, bool success, bytes reason);
    /// @notice `commitment` counts from this block on: see `commit`.
    event ProposalCommitted(bytes32 indexed commitment);
    /// @notice Of the games about a request with this root claim, this one's creator knew it first: since block `since`.
    event ProposalRecorded(
        RequestId indexed requestId, Claim indexed rootClaim, IDisputeGame indexed game, uint64 since
    );
    /// @notice The first proposer was paid; what defenders get of the fee is beside it, see IDefenderShares.
    event FeePaid(RequestId indexed requestId, address indexed recipient, uint256 amount);
    event FeeReclaimed(RequestId indexed requestId, address indexed requester, uint256 amount);
    /// @notice The first game that survived for its request.
    event AnchorUpdated(IDisputeGame indexed game);
    event RespectedGameTypeSet(uint32 gameType);
    event RetirementTimestampSet(Timestamp256 timestamp);
    event DisputeGameBlacklisted(IDisputeGame indexed game);
    event PausedSet(bool paused);
    event GuardianSet(address indexed guardian);

    // ---------------------------------------------------------------- errors

    /// @notice No request has this id.
    error UnknownRequest(RequestId requestId);
    /// @notice The input image has not the size that the program header names.
    error InputSizeMismatch(uint256 found, uint256 expected);
    /// @notice The output image has not the size that the program header names.
    error OutputSizeMismatch(uint256 found, uint256 expected);
    /// @notice The callback wants more gas than one can count on.
    error CallbackGasTooHigh(uint64 found, uint64 max);
    /// @notice The defenders' part of the fee is larger than a request may promise.
    error DefendersBpsTooHigh(uint16 found, uint16 max);
    /// @notice A batch has 2 to 256 items.
    error ItemCountOutOfRange(uint256 found, uint256 min, uint256 max);
    /// @notice The fee of a batch is shared by its items alike.
    error UnevenFee(uint256 fee, uint256 itemCount);
    /// @notice The request has no such item, or not as high a tree.
    error UnknownItem(uint256 item, uint256 itemCount);
    /// @notice The request is a batch, and the call is about single requests; or the other way round.
    error WrongKindOfRequest(RequestId requestId, uint256 itemCount);
    /// @notice The request asked for its output by root, and the call brings the image; or the other way round.
    error WrongDelivery(RequestId requestId, bool outputByRoot);
    /// @notice The request has its output.
    error AlreadyDelivered(RequestId requestId, IDisputeGame deliveredBy);
    /// @notice The game is about another request.
    error GameForOtherRequest(RequestId found, RequestId expected);
    /// @notice The game asks another registry.
    error GameOfOtherRegistry(address found, address expected);
    /// @notice The game is not proper, respected, finalized and won by its defender.
    error GameNotValid(IDisputeGame game);
    /// @notice Header, input, output and arena do not make the root claim: other output, or an inference that failed.
    error StateRootMismatch(StateRoot computed, Claim rootClaim);
    /// @notice The transaction's gas would not leave the callback what the request promised it.
    error CallbackGasShort(uint256 available, uint256 needed);
    /// @notice Only the requester gets the fee back.
    error NotRequester(address found, address expected);
    /// @notice The fee cannot be taken back yet.
    error ReclaimTooEarly(uint256 nowTimestamp, uint256 deadline);
    /// @notice The fee was paid, reclaimed, or never there.
    error NoFee(RequestId requestId);
    /// @notice The caller is not the owner, or not the guardian.
    error AnchorStateRegistry_Unauthorized();
    /// @notice The last pause ended less than `pauseDuration` ago, or still goes on.
    error PauseTooEarly(uint256 nowTimestamp, uint256 earliest);
    /// @notice Only a game of the factory records a proposal.
    error NotAGame(address caller);
    /// @notice The game was never passed over, or it lost or was discarded, or the recorded one has a better right, or
    ///         no fee is left to pay.
    error NotRestorable(IDisputeGame game);
    /// @notice The game did not survive, or another did before it.
    error AnchorStateRegistry_InvalidAnchorGame();

    // ---------------------------------------------------------------- requests

    /// @notice Asks for an inference; the value sent is the fee.
    /// @param input The input image: big-endian tensors at their places in the INPUT section, exactly the model's input size.
    function request(ModelId modelId, bytes calldata input, RequestTerms calldata terms)
        external
        payable
        returns (RequestId requestId);

    /// @notice As `request`, for an input too large to send: its root, and where the image can be fetched.
    /// @dev No challenger can check an inference on an input that is not public. So a requester that hides it can only
    ///      get an unchecked answer to its own question.
    function requestByRoot(ModelId modelId, InputRoot inputRoot, string calldata inputUri, RequestTerms calldata terms)
        external
        payable
        returns (RequestId requestId);

    /// @notice Asks for a batch of inferences by one model, 2 to 256, which one game answers; the value sent is the fee of
    ///         all, and is shared by the items alike.
    /// @param inputs The items' input images, one behind the other.
    /// @param terms The consumer is called for each item, with the id `itemRequestId` and this gas.
    function requestBatch(ModelId modelId, bytes calldata inputs, uint256 itemCount, RequestTerms calldata terms)
        external
        payable
        returns (RequestId requestId);

    /// @notice What a consumer is told to be the request id of an item: keccak256(abi.encode(requestId, item)).
    function itemRequestId(RequestId requestId, uint256 item) external pure returns (RequestId);

    /// @notice Root of the OUTPUT section delivered for an item of a batch; zero before.
    function itemOutputRoot(RequestId requestId, uint256 item) external view returns (OutputRoot);

    /// @notice Says "I know the answer" without saying it. A proposal that follows within COMMITMENT_BLOCKS blocks counts from
    ///         the block of this call, so that who copies it from the pending transactions comes later and gets no fee.
    /// @param commitment See `commitmentOf`. Committing to the same again starts its time anew only once it has run out.
    function commit(bytes32 commitment) external;

    /// @notice keccak256(abi.encode(requestId, rootClaim, nonce << 8, proposer)): of 256 nonces, which differ in their first
    ///         byte. A front-runner that makes the very game a moment earlier has to do so for each of them.
    function commitmentOf(RequestId requestId, Claim rootClaim, bytes32 nonce, address proposer)
        external
        pure
        returns (bytes32);

    /// @notice The block in which a commitment was made; 0 if it was not.
    function committedAt(bytes32 commitment) external view returns (uint64 blockNumber);

    /// @notice The game whose creator gets a request's fee if this root claim delivers and the game is not lost or discarded;
    ///         and since which block its creator knew the root claim. Only for requests with a fee; zeros if there is none.
    function firstProposal(RequestId requestId, Claim rootClaim) external view returns (IDisputeGame game, uint64 since);

    /// @notice Since which block the creator of a game knew its root claim, if another game is, or was, recorded for that.
    function passedOver(IDisputeGame game) external view returns (uint64 since);

    /// @notice Records a game that was passed over, if the one that is recorded fell or counts from a later block, as long
    ///         as there is a fee to pay.
    function restoreProposal(IDisputeGame game) external;

    /// @notice Whether `restoreProposal` would record the game.
    function mayBeRestored(IDisputeGame game) external view returns (bool);

    /// @notice Delivers the output of a request, pays the fee to who proposed it first, less what it keeps for those who
    ///         defended the game, and calls the consumer.
    ///         Not for a request that asked for its output by root.
    /// @param game One that survived: see `isGameClaimValid`.
    /// @param output The output image, exactly the model's output size.
    /// @param arenaRoot Root of the ARENA section in the final state.
    function finalize(RequestId requestId, IDisputeGame game, bytes calldata output, ArenaRoot arenaRoot) external;

    /// @notice Delivers the root of the output of a request that asked for it, pays the fee, and calls the consumer. What is
    ///         under the root is proven to who needs it, later: `ISegmentRoots.outputRootWith`.
    /// @param game One that survived: see `isGameClaimValid`.
    /// @param outputRoot Root of the OUTPUT section in the final state.
    /// @param arenaRoot Root of the ARENA section in the final state.
    function finalizeByRoot(RequestId requestId, IDisputeGame game, OutputRoot outputRoot, ArenaRoot arenaRoot) external;

    /// @notice Delivers outputs of items of a batch, pays the proposer for each, and calls the consumer for each. What was
    ///         delivered before is passed over. An item that failed delivers nothing and keeps no other from it.
    /// @param game One that survived: see `isGameClaimValid`.
    function finalizeItems(RequestId requestId, IDisputeGame game, ItemOutput[] calldata outputs) external;

    /// @notice Gives the fee, or what is left of it, back to the requester, if nothing was delivered `reclaimDelay` seconds after the request. The
    ///         request stays open: an output can still be delivered, for nothing.
    function reclaimFee(RequestId requestId) external;

    /// @notice A request; reverts with UnknownRequest if there is none.
    function requests(RequestId requestId) external view returns (Request memory);

    function requestCount() external view returns (uint256);

    /// @notice The id of the index-th request ever made.
    function requestIdAtIndex(uint256 index) external view returns (RequestId);

    /// @notice Games made for a request, oldest first.
    /// @param start Index in the factory's list to start from; smaller than the request's `firstGameIndex` means that.
    /// @param maxScan The number of games in the list to examine.
    /// @return games Those that are about the request, whether or not they count.
    /// @return next The index at which the next page starts; the factory's game count if there is none.
    function gamesOf(RequestId requestId, uint256 start, uint256 maxScan)
        external
        view
        returns (IDisputeGame[] memory games, uint256 next);

    /// @notice The first game recorded as having survived for a request; zero if none.
    function anchorGameOf(RequestId requestId) external view returns (IDisputeGame);

    /// @notice The game recorded last, of whatever request; zero if none. It decides nothing: monitors show it.
    function anchorGame() external view returns (IDisputeGame);

    /// @notice The root claim of `anchorGame` and its node count; zeros if there is none.
    function getAnchorRoot() external view returns (Claim root, uint256 l2SequenceNumber);

    /// @notice The final state root S_n of an inference without error, from its parts.
    function finalRoot(RequestId requestId, bytes calldata output, ArenaRoot arenaRoot)
        external
        view
        returns (StateRoot);

    // ---------------------------------------------------------------- which games count

    /// @notice Whether the factory made the game.
    function isGameRegistered(IDisputeGame game) external view returns (bool);
    /// @notice Whether games of its type counted when it was made.
    function isGameRespected(IDisputeGame game) external view returns (bool);
    /// @notice Whether the guardian discarded it.
    function isGameBlacklisted(IDisputeGame game) external view returns (bool);
    /// @notice Whether the guardian discarded all games made until some time, and this is one.
    function isGameRetired(IDisputeGame game) external view returns (bool);
    function isGameResolved(IDisputeGame game) external view returns (bool);
    /// @notice Whether it is proper, respected, finalized, and its defender won: whether its root claim is the truth.
    function isGameClaimValid(IDisputeGame game) external view returns (bool);
    /// @notice As `isGameBlacklisted`.
    function disputeGameBlacklist(IDisputeGame game) external view returns (bool);
    function retirementTimestamp() external view returns (Timestamp);
    /// @notice Seconds between a game's resolution and its finality.
    function disputeGameFinalityDelaySeconds() external view returns (Duration256);

    // ---------------------------------------------------------------- owner

    function setRespectedGameType(uint32 gameType) external;
    function setGuardian(address guardian_) external;

    // ---------------------------------------------------------------- guardian

    function guardian() external view returns (address);
    function blacklistDisputeGame(IDisputeGame game) external;
    /// @notice Discards all games made until now.
    function updateRetirementTimestamp() external;
    /// @notice Stops delivery, closing of games and withdrawals for `pauseDuration` seconds, or lets them go on at once. Moves
    ///         and resolution go on always. The next pause can start `pauseDuration` seconds after the end of this one.
    function setPaused(bool paused_) external;
    /// @notice When the last pause ends or ended; 0 if there was none.
    function pausedUntil() external view returns (Timestamp);

    // ---------------------------------------------------------------- parameters

    function disputeGameFactory() external view returns (IDisputeGameFactory);
    function modelRegistry() external view returns (IModelRegistry);
    /// @notice Where the bonds are that requests demand of their proposers. This contract made it.
    function proposerBonds() external view returns (IProposerBonds);
    /// @notice Where the shares of fees are that go to defenders. This contract made it.
    function defenderShares() external view returns (IDefenderShares);
    /// @notice Where roots are computed. This contract made it.
    function segmentRoots() external view returns (ISegmentRoots);
    /// @notice Seconds after which the fee of a request without output can be taken back.
    function reclaimDelay() external view returns (Duration256);
    /// @notice Seconds after which a pause ends by itself.
    function pauseDuration() external view returns (Duration);
    function maxCallbackGas() external view returns (uint64);
    /// @notice The largest part of a fee that a request may promise to defenders, in ten-thousandths.
    function MAX_DEFENDERS_BPS() external view returns (uint16);
    function version() external view returns (string memory);
}

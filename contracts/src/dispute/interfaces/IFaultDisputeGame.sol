// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {LocalContext} from "../../vm/LocalContext.sol";
import {PreimageKey} from "../../vm/PreimageKey.sol";
import {StateHash} from "../../vm/StateHash.sol";
import {BondTerms} from "../Bond.sol";
import {BondDistributionMode} from "../Types.sol";
import {Claim} from "../Claim.sol";
import {Clock} from "../Clock.sol";
import {Position} from "../Position.sol";
import {RequestId} from "../RequestId.sol";
import {StateRoot} from "../StateRoot.sol";
import {Duration} from "../Time.sol";
import {IDelayedWETH} from "./IDelayedWETH.sol";
import {IDisputeGame} from "./IDisputeGame.sol";
import {IFpvm} from "./IFpvm.sol";
import {IGameRegistry} from "./IGameRegistry.sol";

/// @title A dispute about one inference, bisected first over its nodes, then over one node's VM trace
/// @notice Down to the split depth a claim asserts a state root S_t; below it, a state hash of the VM that runs the one
///         node in dispute; at the maximum depth the chain executes the instruction in dispute.
/// @dev Source: docs/game.md.
interface IFaultDisputeGame is IDisputeGame {
    // ---------------------------------------------------------------- events

    /// @notice The game was made: `proposer` says that the request's inference ends in `rootClaim`.
    event Proposed(
        RequestId indexed requestId,
        Claim indexed rootClaim,
        address indexed proposer,
        uint64 nodeCount,
        uint64 splitDepth,
        uint64 maxGameDepth
    );

    /// @notice An attack or a defence was made. Not emitted for the root claim.
    event Move(uint256 indexed parentIndex, Claim indexed claim, address indexed claimant);

    /// @notice A claim was recorded, the root claim included: everything that `claimData(claimIndex)` answers.
    event ClaimAdded(
        uint256 indexed claimIndex,
        uint256 indexed parentIndex,
        address indexed claimant,
        Claim claim,
        Position position,
        uint128 bond,
        Clock clock
    );

    /// @notice A claim was countered by a step: the VM's state after the instruction is `postState`.
    event Stepped(uint256 indexed claimIndex, address indexed stepper, bool isAttack, StateHash postState);

    /// @notice A part of a local pre-image can be read by steps in this context.
    event LocalDataAdded(
        uint256 indexed ident,
        uint256 indexed claimIndex,
        LocalContext localContext,
        PreimageKey key,
        uint256 partOffset
    );

    /// @notice A claim's subgame was settled; `counteredBy` is zero if the claim stands.
    event ClaimResolved(uint256 indexed claimIndex, address indexed counteredBy);

    /// @notice A resolved claim's bond was credited: to its claimant, or to the winner of its subgame. What `amount` lacks of
    ///         the bond was forfeited, and is credited to `forfeitedTo`.
    event BondPaid(uint256 indexed claimIndex, address indexed recipient, uint256 amount);

    /// @notice How the bonds are paid out was decided.
    event GameClosed(BondDistributionMode bondDistributionMode);

    /// @notice First half of `claimCredit`: the delay of DelayedWETH runs.
    event CreditUnlocked(address indexed recipient, uint256 amount);

    /// @notice Second half of `claimCredit`: the money was sent.
    event CreditPaid(address indexed recipient, uint256 amount);

    // ---------------------------------------------------------------- playing

    /// @notice Counters claim `challengeIndex`: attack says it is wrong, defend that it is right but what follows is not.
    /// @param disputed The value of the claim countered, so that a reorganised chain cannot put another in its place.
    /// @param claim What the mover asserts at the new position.
    /// @dev The value sent must be `getRequiredBond` of the new position. Errors, first that applies:
    ///      GameNotInProgress, Panic(0x32), InvalidDisputedClaimIndex, CannotDefendRootClaim, GameDepthExceeded,
    ///      UnexpectedRootClaim, IncorrectBondAmount, ClockTimeExceeded, ClaimAlreadyExists.
    function move(Claim disputed, uint256 challengeIndex, Claim claim, bool isAttack) external payable;

    /// @notice `move(disputed, parentIndex, claim, true)`.
    function attack(Claim disputed, uint256 parentIndex, Claim claim) external payable;

    /// @notice `move(disputed, parentIndex, claim, false)`.
    function defend(Claim disputed, uint256 parentIndex, Claim claim) external payable;

    /// @notice Counters a claim at the maximum depth by executing one instruction.
    /// @param isAttack Whether the claim itself is the state after the instruction (else it is the state before).
    /// @param stateData The encoded VM state before the instruction.
    /// @param proof What the instruction reads.
    /// @dev Errors, first that applies: GameNotInProgress, Panic(0x32), InvalidParent, InvalidPrestate, the VM's own,
    ///      ValidStep, DuplicateStep.
    function step(uint256 claimIndex, bool isAttack, bytes calldata stateData, bytes calldata proof) external;

    /// @notice Puts a part of a local pre-image into the oracle for the execution subgame of a claim.
    /// @param ident 2 starting root, 3 disputed root, 4 index of the disputed node (8 bytes), 5 chain id (8 bytes),
    ///        6 item (32 bytes): see LocalIdent.
    /// @param execLeafIndex Any claim below the split depth.
    /// @param partOffset Where the 32-byte part starts in (length as 8 bytes big-endian) ++ data.
    function addLocalData(uint256 ident, uint256 execLeafIndex, uint256 partOffset) external;

    /// @notice Settles a claim all of whose replies are settled.
    /// @param numToResolve How many replies to process in this call; 0 on the first call means all.
    function resolveClaim(uint256 claimIndex, uint256 numToResolve) external;

    /// @notice `resolveClaim` for each of these claims, in this order, skipping those that it would refuse; then, if the root
    ///         claim is settled, `resolve`. Any account can do this, for all sides alike.
    /// @dev Errors: GameNotInProgress, and Panic(0x32) for a claim that does not exist. That another account settled a
    ///      claim in the meantime, or that one is not ripe, is no error.
    /// @param claimIndices Answers before what they answer: for instance all claims, from the newest.
    /// @param numToResolve The most answers to process of each claim; 0 means all. List a claim twice for two pages.
    /// @return done For how many of the indices `resolveClaim` did something.
    function settle(uint256[] calldata claimIndices, uint256 numToResolve) external returns (uint256 done);

    /// @notice Puts the ether that the game keeps, the bonds of a game that is not closed, into DelayedWETH, where the vault's
    ///         owner can reach it. Any account can do this at any time; `closeGame` does it.
    function depositBonds() external;

    /// @notice Decides how bonds are paid out, once, after the finality delay, and puts them into DelayedWETH.
    function closeGame() external;

    /// @notice Pays out, in two calls: the first starts the delay of DelayedWETH, the second sends the money.
    function claimCredit(address recipient) external;

    // ---------------------------------------------------------------- claims

    /// @notice The record of a claim.
    /// @return parentIndex The claim that it answers; 2^32 - 1 for the root claim.
    /// @return counteredBy Zero while uncountered; set by a step, and when the claim is resolved. Not by an answer.
    /// @return claimant Who posted it.
    /// @return bond Its stake, in wei.
    /// @return claim The 32 bytes asserted: a state root down to the split depth, a state hash below it.
    /// @return position Its position: a generalized index.
    /// @return clock What its side had used when it was posted, and when that was: duration << 64 | timestamp.
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
        );

    function claimDataLen() external view returns (uint256);

    /// @notice Whether a claim with this key exists: keccak256(claim ++ u128(position) ++ u128(parent index)).
    function claims(bytes32 key) external view returns (bool);

    /// @notice The n-th reply to a claim.
    function subgames(uint256 claimIndex, uint256 n) external view returns (uint256 childIndex);

    function resolvedSubgames(uint256 claimIndex) external view returns (bool);

    /// @notice How far `resolveClaim` has come with a claim.
    function resolutionCheckpoints(uint256 claimIndex)
        external
        view
        returns (bool initialCheckpointComplete, uint32 subgameIndex, Position leftmostPosition, address counteredBy);

    /// @notice Replies that `resolveClaim` has not processed yet.
    function getNumToResolve(uint256 claimIndex) external view returns (uint256);

    /// @notice The time that the side which may answer the claim has used, at most `maxClockDuration`.
    function getChallengerDuration(uint256 claimIndex) external view returns (Duration);

    /// @notice The bond of a claim at a position, in wei; depends on its depth only.
    function getRequiredBond(Position position) external view returns (uint256);

    // ---------------------------------------------------------------- money

    /// @notice The recipient's credit by the ledger that applies, in wei.
    function credit(address recipient) external view returns (uint256);

    /// @notice Bonds that resolution awarded.
    function normalModeCredit(address recipient) external view returns (uint256);

    /// @notice Bonds that the recipient paid.
    function refundModeCredit(address recipient) external view returns (uint256);

    /// @notice The parts of lost bonds that no winner got, in wei. Final once the game is resolved: no claim is settled then.
    function totalForfeited() external view returns (uint256);

    /// @notice What a settled claim's bond added to that, and who countered the claim; zeros if it did not lose its bond, or
    ///         is not settled. Panic(0x32) if there is no such claim.
    function forfeitOf(uint256 claimIndex) external view returns (address counteredBy, uint256 amount);

    function hasUnlockedCredit(address recipient) external view returns (bool);

    function bondDistributionMode() external view returns (BondDistributionMode);

    /// @notice The terms of bonds, and the forfeited part of a lost bond. `forfeitedTo` has a credit like a player's.
    function bondTerms() external view returns (BondTerms memory);

    // ---------------------------------------------------------------- parameters

    /// @notice The id of the request whose inference is disputed.
    function requestId() external view returns (RequestId);

    /// @notice Tells games with the same root claim for the same request apart; 0 if the extra data are the request id alone.
    function proposalNonce() external view returns (bytes32);

    /// @notice Number of nodes n.
    function nodeCount() external view returns (uint64);
    /// @notice The number of items whose nodes they are, one item's after the other's: 1 unless the request is a batch.
    function itemCount() external view returns (uint256);

    function maxGameDepth() external view returns (uint256);

    function splitDepth() external view returns (uint256);

    /// @notice The total time of each side.
    function maxClockDuration() external view returns (Duration);

    /// @notice The least time that a side has left after it was answered.
    function clockExtension() external view returns (Duration);

    /// @notice The state hash where every VM trace starts.
    function absolutePrestate() external view returns (StateHash);

    function vm() external view returns (IFpvm);

    function weth() external view returns (IDelayedWETH);

    /// @notice The contract in the anchor state registry's place: the inference oracle.
    function anchorStateRegistry() external view returns (IGameRegistry);

    function l2ChainId() external view returns (uint256);

    // ------------------------------------------- what clients of rollup games ask

    /// @notice The node count.
    function l2BlockNumber() external view returns (uint256);

    /// @notice 0: the trace starts before the first node.
    function startingBlockNumber() external view returns (uint256);

    /// @notice 0: the trace starts before the first node.
    function startingSequenceNumber() external view returns (uint256);

    /// @notice The state root S_0.
    function startingRootHash() external view returns (StateRoot);

    /// @notice S_0 and the number 0.
    function startingOutputRoot() external view returns (StateRoot root, uint256 sequenceNumber);

    /// @notice The root claim, if `chainId` is the game's.
    function rootClaimByChainId(uint256 chainId) external view returns (Claim);

    /// @notice Always false: a node count cannot be wrong, it comes with the request.
    function l2BlockNumberChallenged() external view returns (bool);

    /// @notice Always zero.
    function l2BlockNumberChallenger() external view returns (address);
}

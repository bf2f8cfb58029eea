// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Claim} from "../dispute/Claim.sol";
import {RequestId, requestIdOf} from "../dispute/RequestId.sol";
import {GameStatus} from "../dispute/Types.sol";
import {IDisputeGame} from "../dispute/interfaces/IDisputeGame.sol";
import {IFaultDisputeGame} from "../dispute/interfaces/IFaultDisputeGame.sol";
import {ProposerBonds} from "./ProposerBonds.sol";
import {Requests} from "./Requests.sol";
import {IInferenceOracle, Request} from "./interfaces/IInferenceOracle.sol";
import {IProposerBonds} from "./interfaces/IProposerBonds.sol";

/// @title Proposals: who knew an answer first, and which survived
/// @dev Source: docs/game.md, "Proposals" and "Demanded bonds".
abstract contract Proposals is Requests {
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
    IProposerBonds public immutable proposerBonds;

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

    constructor() {
        proposerBonds = new ProposerBonds();
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
        Request storage asked = requestOf[requestId];
        (uint256 fee, uint256 minBond) = (asked.fee, asked.minBond);
        if ((fee == 0 && minBond == 0) || gameType != respectedGameType) return;
        // INVARIANT: the factory made the caller, so it is a game and tells the truth about who made it.
        (IDisputeGame known,) = disputeGameFactory.games(gameType, rootClaim, extraData);
        if (address(known) != msg.sender) revert NotAGame(msg.sender);

        // INVARIANT: a game that can deliver has locked what its request demands, from its first moment on: without, it is
        // not made at all. Later would be too late, for only a proposal that no challenger disputed would get it.
        if (minBond != 0) proposerBonds.lock(IFaultDisputeGame(msg.sender), proposer, minBond);
        if (fee != 0) _enter(requestId, rootClaim, extraData, known, proposer);
    }

    /// @dev Records a game as the first with its root claim, or keeps since when it would be.
    function _enter(
        RequestId requestId,
        Claim rootClaim,
        bytes calldata extraData,
        IDisputeGame known,
        address proposer
    ) internal {
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

    function getAnchorRoot() external view returns (Claim root, uint256 l2SequenceNumber) {
        if (address(anchorGame) == address(0)) return (Claim.wrap(bytes32(0)), 0);
        return (anchorGame.rootClaim(), anchorGame.l2SequenceNumber());
    }
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Test} from "../Test.sol";
import {ALL_BPS, MAX_FORFEITED_BPS} from "../../src/dispute/Bond.sol";
import {Clock, newClock} from "../../src/dispute/Clock.sol";
import {NO_PARENT, PackedClaim, packClaim, packRootClaim} from "../../src/dispute/PackedClaim.sol";
import {PackedGame, packGame} from "../../src/dispute/PackedGame.sol";
import {Position} from "../../src/dispute/Position.sol";
import {Frame} from "../../src/vm/Frame.sol";
import {MemoryTree, Proof} from "../../src/vm/MemoryTree.sol";
import {State} from "../../src/vm/State.sol";
import {Duration, Timestamp} from "../../src/dispute/Time.sol";
import {BondDistributionMode, GameStatus} from "../../src/dispute/Types.sol";

/// @notice A memory of eight subtrees, the top three levels of the VM's, changed as a step changes it.
contract Memory {
    uint256 internal constant LOG2_SIZE = 61;

    /// @notice Puts `node` at place `index` under `root`; reverts unless `proof`, a node and three siblings, leads there.
    function put(bytes32 root, uint64 index, bytes32 node, bytes calldata proof) external pure returns (bytes32) {
        Frame.open();
        Frame.setWord(State.MEMORY_ROOT, uint256(root));
        MemoryTree.open(proof);
        MemoryTree.put(MemoryTree.next(LOG2_SIZE), index << 61, LOG2_SIZE, node);
        return State.memoryRoot();
    }
}

/// @notice Statements about all inputs: `check_…` is proven symbolically by halmos (`scripts/prove`), which takes Keccak for a
///         function without collisions; `testFuzz_…` is tried with random inputs by Forge, where a proof takes too long.
contract Proofs is Test {
    Memory internal immutable MEMORY = new Memory();

    // ---------------------------------------------------------------- positions

    /// @dev Depths end at 125.
    function isPosition(uint128 raw) internal pure returns (bool) {
        return raw >= 1 && raw < 2 ** 126;
    }

    /// @notice A move goes one level down; an attack speaks about less than its parent, a defence about more.
    function check_moves(uint128 raw) public pure {
        vm.assume(isPosition(raw));
        Position p = Position.wrap(raw);
        assert(p.attack().raw() == 2 * raw);
        assert(p.attack().parent().raw() == raw);
        assert(p.defend().raw() == 2 * (raw | 1));
        assert(p.defend().raw() % 2 == 0 && p.attack().raw() % 2 == 0);
        // A defence stands under the right neighbour of a left child, and only there.
        if (raw % 2 == 0) assert(p.defend().parent().raw() == raw + 1);
        else assert(p.defend().raw() == p.attack().raw());
    }

    /// @notice The trace ancestor is on the path to the root and speaks about the same leaf, and its parent does not.
    /// @dev WHY NOT proven: the solver does not finish with logarithms of symbolic numbers.
    function testFuzz_traceAncestor(uint128 raw, uint256 depth) public pure {
        depth = bound(depth, 0, 125);
        Position p = Position.wrap(uint128((1 << depth) | (raw & ((1 << depth) - 1))));
        Position ancestor = p.traceAncestor();
        vm.assertEq(p.raw() >> (depth - ancestor.depth()), ancestor.raw());
        vm.assertEq(ancestor.rightIndex(125).raw(), p.rightIndex(125).raw());
        if (ancestor.raw() != 1) vm.assertNotEq(ancestor.parent().rightIndex(125).raw(), p.rightIndex(125).raw());
    }

    // ---------------------------------------------------------------- clocks

    function check_clockKeepsBothHalves(uint64 duration, uint64 timestamp) public pure {
        Clock clock = newClock(Duration.wrap(duration), Timestamp.wrap(timestamp));
        assert(clock.duration().raw() == duration);
        assert(clock.timestamp().raw() == timestamp);
    }

    /// @notice A mover always keeps at least the extension that its move comes with, and never more than a whole clock.
    function check_aMoverKeepsItsExtension(uint64 used, uint64 maxClock, uint64 extension) public pure {
        vm.assume(used < maxClock && extension <= maxClock);
        uint64 mostUsed = maxClock - extension;
        uint64 kept = used < mostUsed ? used : mostUsed;
        assert(maxClock - kept >= extension);
        assert(kept <= used);
    }

    // ---------------------------------------------------------------- packed words

    /// @notice A stored claim keeps each of its fields, whatever the others are and whatever happens to it later.
    function check_aPackedClaimKeepsItsFields(
        uint128 position,
        uint32 parentIndex,
        uint32 claimant,
        uint32 postedAfter,
        uint32 timeUsed,
        uint32 answer
    ) public pure {
        vm.assume(position < 2 ** 91 && parentIndex != NO_PARENT);
        PackedClaim claim = packClaim(Position.wrap(position), parentIndex, claimant, postedAfter, timeUsed);
        assert(claim.answer() == 0 && !claim.hasMoreAnswers() && !claim.isResolved() && !claim.isCountered());
        claim = claim.withAnswer(answer).withMoreAnswers().withResolutionStarted().withWinner(false).withResolved();
        assert(claim.position().raw() == position);
        assert(claim.parentIndex() == parentIndex);
        assert(claim.claimant() == claimant);
        assert(claim.postedAfter() == postedAfter);
        assert(claim.timeUsed() == timeUsed);
        assert(claim.answer() == answer);
        assert(claim.hasMoreAnswers() && claim.isResolved() && claim.isResolutionStarted());
        assert(claim.isCountered() && claim.isCounteredLater());
    }

    /// @notice A root claim keeps its bond, and its time and claimant are 0 whatever that is.
    function check_aRootClaimKeepsItsBond(uint96 bond, uint32 answer) public pure {
        PackedClaim claim = packRootClaim(bond).withAnswer(answer).withMoreAnswers().withWinner(true).withResolved();
        assert(claim.rootBond() == bond);
        assert(claim.claimant() == 0 && claim.postedAfter() == 0 && claim.timeUsed() == 0);
        assert(claim.parentIndex() == NO_PARENT && claim.position().raw() == 1 && claim.answer() == answer);
        assert(!claim.isCounteredLater() && !claim.isResolutionStarted());
    }

    /// @notice A stored game keeps what it was made with, whatever happens to it later, and begins in progress with nothing.
    function check_aPackedGameKeepsItsFields(
        uint8 splitDepth,
        uint8 maxDepth,
        uint64 nodeCount,
        uint64 itemCount,
        bool wasRespected,
        uint40 madeAt,
        uint40 endedAt
    ) public {
        vm.assume(itemCount >= 1 && itemCount <= 256);
        vm.warp(madeAt);
        PackedGame game = packGame(splitDepth, maxDepth, nodeCount, itemCount, wasRespected);
        assert(game.status() == GameStatus.IN_PROGRESS && game.mode() == BondDistributionMode.UNDECIDED);
        assert(game.claimCount() == 0 && game.playerCount() == 0 && game.resolvedAt().raw() == 0);
        vm.warp(endedAt);
        game = game.withClaim().withPlayer().withOutcome(GameStatus.DEFENDER_WINS).withMode(BondDistributionMode.REFUND);
        assert(game.splitDepth() == splitDepth && game.maxDepth() == maxDepth);
        assert(game.nodeCount() == nodeCount && game.itemCount() == itemCount && game.wasRespected() == wasRespected);
        assert(game.createdAt().raw() == madeAt && game.resolvedAt().raw() == endedAt);
        assert(game.status() == GameStatus.DEFENDER_WINS && game.mode() == BondDistributionMode.REFUND);
        assert(game.claimCount() == 1 && game.playerCount() == 1);
    }

    /// @notice One claim or player more changes its own number alone, for every word whose number does not reach its end, as
    ///         the game checks before.
    function check_countingChangesTheCountAlone(uint256 word) public pure {
        PackedGame game = PackedGame.wrap(word);
        vm.assume(game.claimCount() != type(uint32).max && game.playerCount() != type(uint32).max);
        PackedGame more = game.withClaim().withPlayer();
        assert(more.claimCount() == game.claimCount() + 1 && more.playerCount() == game.playerCount() + 1);
        uint256 counts = uint256(type(uint64).max) << 48; // both numbers, side by side
        assert(PackedGame.unwrap(more) & ~counts == word & ~counts);
    }

    // ---------------------------------------------------------------- bonds

    /// @notice What the winner and the treasury get is the bond, to the wei; the winner at least half of it.
    /// @dev WHY NOT proven: the solver does not finish with products of two symbolic numbers.
    function testFuzz_aLostBondIsSplitWhole(uint120 bond, uint16 bps) public pure {
        bps = uint16(bound(bps, 0, MAX_FORFEITED_BPS));
        uint256 forfeited = uint256(bond) * bps / ALL_BPS;
        uint256 winners = bond - forfeited;
        assert(winners + forfeited == bond);
        assert(winners >= forfeited);
    }

    // ---------------------------------------------------------------- memory

    function root(bytes32[8] memory n) internal pure returns (bytes32) {
        return pair(pair(pair(n[0], n[1]), pair(n[2], n[3])), pair(pair(n[4], n[5]), pair(n[6], n[7])));
    }

    function pair(bytes32 left, bytes32 right) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(left, right));
    }

    /// @notice Whatever proof is sent: if it is accepted at a place, then only the node of that place changes. So a proof can
    ///         neither claim another node than the one that stands there, nor move or change a neighbour.
    function onlyItsLeaf(bytes32[8] memory n, bytes32 node, bytes32[4] memory sent, uint64 index) internal view {
        bytes memory proof = abi.encodePacked(sent[0], sent[1], sent[2], sent[3]);
        // A proof that starts with the marker is in the compact encoding.
        vm.assume(uint64(bytes8(sent[0])) != MemoryTree.COMPACT_MARKER);
        try MEMORY.put(root(n), index, node, proof) returns (bytes32 changed) {
            assert(sent[0] == n[index]);
            n[index] = node;
            assert(changed == root(n));
        } catch {}
    }

    function check_onlyItsLeaf0(bytes32[8] memory n, bytes32 node, bytes32[4] memory sent) public view {
        onlyItsLeaf(n, node, sent, 0);
    }

    function check_onlyItsLeaf3(bytes32[8] memory n, bytes32 node, bytes32[4] memory sent) public view {
        onlyItsLeaf(n, node, sent, 3);
    }

    function check_onlyItsLeaf5(bytes32[8] memory n, bytes32 node, bytes32[4] memory sent) public view {
        onlyItsLeaf(n, node, sent, 5);
    }

    function check_onlyItsLeaf6(bytes32[8] memory n, bytes32 node, bytes32[4] memory sent) public view {
        onlyItsLeaf(n, node, sent, 6);
    }

    /// @notice The honest proof is accepted, at every place, and changes that place alone: so the statements above are about
    ///         something.
    function testFuzz_honestProofsAreAccepted(bytes32[8] memory n, bytes32 node, uint64 index) public view {
        index %= 8;
        // What starts with the marker is read as a compact proof; a step begins with a thread's id, which never reaches it.
        vm.assume(uint64(bytes8(n[index])) != MemoryTree.COMPACT_MARKER);
        bytes32[4] memory sent = [
            n[index],
            n[index ^ 1],
            pair(n[(index ^ 2) & 6], n[((index ^ 2) & 6) + 1]),
            pair(
                pair(n[(index ^ 4) & 4], n[((index ^ 4) & 4) + 1]),
                pair(n[((index ^ 4) & 4) + 2], n[((index ^ 4) & 4) + 3])
            )
        ];
        bytes32 before = root(n);
        bytes memory proof = abi.encodePacked(sent[0], sent[1], sent[2], sent[3]);
        n[index] = node;
        vm.assertEq(MEMORY.put(before, index, node, proof), root(n));
    }
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Test} from "../Test.sol";
import {NO_PARENT, PackedClaim, packClaim, packRootClaim} from "../../src/dispute/PackedClaim.sol";
import {PackedGame, packGame} from "../../src/dispute/PackedGame.sol";
import {MAX_POSITION_DEPTH, Position, ROOT_POSITION} from "../../src/dispute/Position.sol";
import {BondDistributionMode, GameStatus} from "../../src/dispute/Types.sol";

/// @notice Packed words keep each field as it was written, with the largest values too, and no change of one reaches another.
contract PackedClaimTest is Test {
    /// @dev What a claim must answer.
    struct Expected {
        uint128 position;
        uint32 parentIndex;
        uint32 claimant;
        uint32 postedAfter;
        uint32 timeUsed;
        uint32 answer;
        bool[5] flags;
    }

    function check(PackedClaim claim, Expected memory e) internal pure {
        vm.assertEq(claim.position().raw(), e.position);
        vm.assertEq(claim.parentIndex(), e.parentIndex);
        vm.assertEq(claim.claimant(), e.claimant);
        vm.assertEq(claim.postedAfter(), e.postedAfter);
        vm.assertEq(claim.timeUsed(), e.timeUsed);
        vm.assertEq(claim.answer(), e.answer);
        vm.assertEq(claim.hasMoreAnswers(), e.flags[0]);
        vm.assertEq(claim.isResolved(), e.flags[1]);
        vm.assertEq(claim.isResolutionStarted(), e.flags[2]);
        vm.assertEq(claim.isCountered(), e.flags[3]);
        vm.assertEq(claim.isCounteredLater(), e.flags[4]);
    }

    function withAll(PackedClaim claim, Expected memory e) internal pure {
        check(claim, e);
        claim = claim.withAnswer(e.answer = 0xffffffff);
        check(claim, e);
        (claim, e.flags[0]) = (claim.withMoreAnswers(), true);
        check(claim, e);
        (claim, e.flags[2]) = (claim.withResolutionStarted(), true);
        check(claim, e);
        (claim, e.flags[3]) = (claim.withWinner(true), true);
        check(claim, e);
        (claim, e.flags[4]) = (claim.withWinner(false), true);
        check(claim, e);
        (claim, e.flags[1]) = (claim.withResolved(), true);
        check(claim, e);
    }

    function testFuzz_aClaimKeepsItsFields(
        uint128 position,
        uint32 parentIndex,
        uint32 claimant,
        uint32 postedAfter,
        uint32 timeUsed
    ) public pure {
        position = uint128(bound(position, 1, (1 << (MAX_POSITION_DEPTH + 1)) - 1));
        vm.assume(parentIndex != NO_PARENT);
        Expected memory e;
        (e.position, e.parentIndex, e.claimant, e.postedAfter, e.timeUsed) =
        (position, parentIndex, claimant, postedAfter, timeUsed);
        withAll(packClaim(Position.wrap(position), parentIndex, claimant, postedAfter, timeUsed), e);
    }

    function test_aClaimKeepsTheLargestFields() public pure {
        testFuzz_aClaimKeepsItsFields(
            uint128((1 << (MAX_POSITION_DEPTH + 1)) - 1),
            NO_PARENT - 1,
            type(uint32).max,
            type(uint32).max,
            type(uint32).max
        );
    }

    /// @notice The bond of a root claim is no player, and no time.
    function testFuzz_aRootClaimKeepsItsBond(uint96 bond) public pure {
        PackedClaim root = packRootClaim(bond);
        Expected memory e;
        (e.position, e.parentIndex) = (ROOT_POSITION.raw(), NO_PARENT);
        withAll(root, e);
        vm.assertEq(root.rootBond(), bond);
        vm.assertEq(root.withAnswer(1).withWinner(false).withMoreAnswers().withResolved().rootBond(), bond);
    }

    function testFuzz_aGameKeepsItsFields(uint8 split, uint8 max, uint64 nodes, uint64 items, bool respected, uint40 at)
        public
    {
        vm.warp(at);
        items = uint64(bound(items, 1, 256));
        PackedGame game = packGame(split, max, nodes, items, respected);
        for (uint256 i = 0; i < 3; ++i) {
            vm.assertEq(game.splitDepth(), split);
            vm.assertEq(game.maxDepth(), max);
            vm.assertEq(game.nodeCount(), nodes);
            vm.assertEq(game.itemCount(), items);
            vm.assertEq(game.wasRespected(), respected);
            vm.assertEq(game.createdAt().raw(), at);
            vm.assertEq(game.secondsPassed(), 0);
            vm.assertEq(game.claimCount(), i);
            vm.assertEq(game.playerCount(), 2 * i);
            vm.assertEq(game.resolvedAt().raw(), i == 2 ? at : 0);
            vm.assertTrue(game.status() == (i == 2 ? GameStatus.DEFENDER_WINS : GameStatus.IN_PROGRESS));
            vm.assertTrue(game.mode() == (i == 2 ? BondDistributionMode.REFUND : BondDistributionMode.UNDECIDED));
            game = game.withClaim().withPlayer().withPlayer();
            if (i == 1) game = game.withOutcome(GameStatus.DEFENDER_WINS).withMode(BondDistributionMode.REFUND);
        }
    }
}

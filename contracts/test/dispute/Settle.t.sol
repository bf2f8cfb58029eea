// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {GameFixture} from "./helpers/GameFixture.sol";
import "../../src/dispute/Errors.sol";
import {GameStatus} from "../../src/dispute/Types.sol";
import {IDisputeGame} from "../../src/dispute/interfaces/IDisputeGame.sol";
import {IFaultDisputeGame} from "../../src/dispute/interfaces/IFaultDisputeGame.sol";

/// @notice `settle`: many claims in one transaction come to the same as one by one.
contract SettleTest is GameFixture {
    address internal immutable ALICE = makeAddr("alice");
    address internal immutable BOB = makeAddr("bob");

    function setUp() public override {
        super.setUp();
        vm.deal(ALICE, 1e5 ether);
        vm.deal(BOB, 1e5 ether);
        propose(lie(0));
    }

    /// @notice All claims, from the newest.
    function all() internal view returns (uint256[] memory indices) {
        indices = new uint256[](game.claimDataLen());
        for (uint256 i = 0; i < indices.length; ++i) {
            indices[i] = indices.length - 1 - i;
        }
    }

    function only(uint256 index) internal pure returns (uint256[] memory indices) {
        indices = new uint256[](1);
        indices[0] = index;
    }

    /// @notice The public state of a game's end.
    function standing() internal view returns (bytes32 seen) {
        seen = keccak256(abi.encode(game.status(), game.resolvedAt()));
        for (uint256 i = 0; i < game.claimDataLen(); ++i) {
            (bool started, uint32 cursor,, address by) = game.resolutionCheckpoints(i);
            seen = keccak256(
                abi.encode(seen, claimAt(i), game.resolvedSubgames(i), game.getNumToResolve(i), started, cursor, by)
            );
        }
        address[4] memory players = [PROPOSER, ALICE, BOB, address(this)];
        for (uint256 i = 0; i < players.length; ++i) {
            seen = keccak256(abi.encode(seen, game.normalModeCredit(players[i]), game.refundModeCredit(players[i])));
        }
    }

    /// @notice Moves without a plan, against any claim, and sometimes a step.
    function play(uint256 seed, uint256 moves) internal {
        for (uint256 i = 0; i < moves; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            uint256 newest = game.claimDataLen() - 1;
            uint256 index = seed % 3 == 0 ? (seed >> 8) % (newest + 1) : newest;
            uint256 depth = claimAt(index).position.depth();
            if (depth == D) {
                bytes memory firstState = abi.encode(alphabet.firstState());
                try game.step(index, true, firstState, "") {} catch {}
                continue;
            }
            bool isAttack = index == 0 || depth == S || depth == S + 1 || (seed >> 16) % 2 == 0;
            moveAs((seed >> 24) % 2 == 0 ? ALICE : BOB, index, lie(1000 + i), isAttack);
            skip((seed >> 32) % 1000);
        }
    }

    /// @notice One call does what `resolveClaim` for each claim and `resolve` do.
    function testFuzz_settle_isResolveClaimForAll(uint256 seed, uint8 moves) public {
        play(seed, moves % 40);
        skip(2 * CLOCK);
        uint256 before = vm.snapshotState();
        resolveAll();
        bytes32 oneByOne = standing();
        vm.revertToState(before);
        vm.assertEq(game.settle(all(), 0), game.claimDataLen());
        vm.assertEq(standing(), oneByOne);
    }

    /// @notice Cut into any pieces, in any order, often enough, it comes to the same.
    function testFuzz_settle_inPieces(uint256 seed) public {
        play(seed, 25);
        skip(2 * CLOCK);
        uint256 before = vm.snapshotState();
        resolveAll();
        bytes32 oneByOne = standing();
        vm.revertToState(before);
        while (game.status() == GameStatus.IN_PROGRESS) {
            uint256[] memory some = new uint256[](1 + (seed % 7));
            for (uint256 i = 0; i < some.length; ++i) {
                seed = uint256(keccak256(abi.encode(seed)));
                some[i] = (seed >> 8) % game.claimDataLen();
            }
            game.settle(some, seed % 3);
        }
        vm.assertEq(standing(), oneByOne);
    }

    function test_settle_events() public {
        moveAs(ALICE, 0, lie(1), true);
        skip(CLOCK);
        vm.expectEmit(address(game));
        emit IFaultDisputeGame.ClaimResolved(1, address(0));
        vm.expectEmit(address(game));
        emit IFaultDisputeGame.BondPaid(1, ALICE, claimAt(1).bond);
        vm.expectEmit(address(game));
        emit IFaultDisputeGame.ClaimResolved(0, ALICE);
        vm.expectEmit(address(game));
        emit IFaultDisputeGame.BondPaid(0, ALICE, INIT_BOND);
        vm.expectEmit(address(game));
        emit IDisputeGame.Resolved(GameStatus.CHALLENGER_WINS);
        vm.prank(BOB); // any account
        game.settle(all(), 0);
        vm.assertEq(game.resolvedAt().raw(), block.timestamp);
    }

    /// @notice What is not ripe, or settled, is skipped; the rest is done.
    function test_settle_skipsWhatResolveClaimRefuses() public {
        attack(0, lie(1));
        skip(CLOCK - 10);
        attack(1, lie(2));
        attack(0, lie(3));
        skip(10);
        // Claims 0 and 1 have run out of time, but not what stands below them.
        vm.assertEq(game.settle(all(), 0), 0);
        skip(CLOCK);
        game.resolveClaim(2, 0);
        vm.assertEq(game.settle(only(0), 0), 0); // its answers are open
        vm.assertTrue(game.status() == GameStatus.IN_PROGRESS);
        vm.assertEq(game.settle(all(), 0), 3);
        vm.assertTrue(game.status() == GameStatus.CHALLENGER_WINS);
    }

    function test_settle_refusals() public {
        uint256[] memory missing = only(1);
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x32));
        game.settle(missing, 0);
        skip(CLOCK);
        game.settle(only(0), 0);
        uint256[] memory none = new uint256[](0);
        vm.expectRevert(GameNotInProgress.selector);
        game.settle(none, 0);
    }

    /// @notice The root claim settled by itself: a call with nothing to do ends the game.
    function test_settle_endsAGameWhoseRootIsSettled() public {
        skip(CLOCK);
        game.resolveClaim(0, 0);
        vm.assertEq(game.settle(new uint256[](0), 0), 0);
        vm.assertTrue(game.status() == GameStatus.DEFENDER_WINS);
    }

    /// @notice An account that resolves a page, or a claim, just before cannot make the call fail.
    function test_settle_afterSomebodyElsesPage() public {
        for (uint256 i = 1; i <= 5; ++i) {
            attack(0, lie(i));
        }
        skip(CLOCK);
        uint256 before = vm.snapshotState();
        uint256[2] memory numbers = [uint256(0), type(uint256).max];
        for (uint256 i = 0; i < 2; ++i) {
            for (uint256 claim = 5; claim > 2; --claim) {
                game.resolveClaim(claim, 0);
            }
            game.resolveClaim(1, 0);
            game.resolveClaim(0, 1);
            game.settle(all(), numbers[i]);
            vm.assertTrue(game.status() == GameStatus.CHALLENGER_WINS);
            vm.revertToState(before);
        }
    }

    function test_settle_inPages() public {
        for (uint256 i = 1; i <= 12; ++i) {
            attack(0, lie(i));
        }
        skip(CLOCK);
        game.settle(all(), 5);
        vm.assertEq(game.getNumToResolve(0), 7);
        uint256[] memory twice = new uint256[](2);
        vm.assertEq(game.settle(twice, 5), 2);
        vm.assertEq(claimAt(0).counteredBy, address(this));
        vm.assertTrue(game.status() == GameStatus.CHALLENGER_WINS);
    }
}

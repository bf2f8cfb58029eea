// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {GameFixture} from "./helpers/GameFixture.sol";
import "../../src/dispute/Errors.sol";
import {FaultDisputeGame} from "../../src/dispute/FaultDisputeGame.sol";
import {NO_POSITION, Position} from "../../src/dispute/Position.sol";
import {GameStatus} from "../../src/dispute/Types.sol";
import {IDisputeGame} from "../../src/dispute/interfaces/IDisputeGame.sol";
import {IFaultDisputeGame} from "../../src/dispute/interfaces/IFaultDisputeGame.sol";

/// @notice Who wins which claim, in which order claims settle, and in how many calls.
contract ResolutionTest is GameFixture {
    address internal immutable ALICE = makeAddr("alice");
    address internal immutable BOB = makeAddr("bob");
    address internal immutable CAROL = makeAddr("carol");

    function setUp() public override {
        super.setUp();
        vm.deal(ALICE, 1e5 ether);
        vm.deal(BOB, 1e5 ether);
        vm.deal(CAROL, 1e5 ether);
        propose(lie(0));
    }

    function expire() internal {
        skip(CLOCK);
    }

    // ---------------------------------------------------------------- who wins

    function test_resolve_unansweredRootStands() public {
        expire();
        vm.expectEmit(address(game));
        emit IFaultDisputeGame.ClaimResolved(0, address(0));
        vm.expectEmit(address(game));
        emit IFaultDisputeGame.BondPaid(0, PROPOSER, INIT_BOND);
        game.resolveClaim(0, 0);
        vm.expectEmit(address(game));
        emit IDisputeGame.Resolved(GameStatus.DEFENDER_WINS);
        vm.assertTrue(game.resolve() == GameStatus.DEFENDER_WINS);
        vm.assertTrue(game.status() == GameStatus.DEFENDER_WINS);
        vm.assertEq(game.resolvedAt().raw(), block.timestamp);
        vm.assertEq(game.normalModeCredit(PROPOSER), INIT_BOND);
        vm.assertEq(game.credit(PROPOSER), INIT_BOND);
    }

    function test_resolve_answeredRootFalls() public {
        moveAs(ALICE, 0, lie(1), true);
        expire();
        game.resolveClaim(1, 0);
        vm.expectEmit(address(game));
        emit IFaultDisputeGame.ClaimResolved(0, ALICE);
        vm.expectEmit(address(game));
        emit IFaultDisputeGame.BondPaid(0, ALICE, INIT_BOND);
        game.resolveClaim(0, 0);
        vm.assertTrue(game.resolve() == GameStatus.CHALLENGER_WINS);
        vm.assertEq(claimAt(0).counteredBy, ALICE);
        vm.assertEq(game.normalModeCredit(ALICE), INIT_BOND + claimAt(1).bond);
        vm.assertEq(game.normalModeCredit(PROPOSER), 0);
    }

    function test_resolve_answeredAnswerLeavesTheRootStanding() public {
        moveAs(ALICE, 0, lie(1), true);
        moveAs(BOB, 1, lie(2), true);
        expire();
        resolveAll();
        vm.assertTrue(game.status() == GameStatus.DEFENDER_WINS);
        vm.assertEq(claimAt(1).counteredBy, BOB);
        vm.assertEq(game.normalModeCredit(BOB), claimAt(1).bond + claimAt(2).bond);
        vm.assertEq(game.normalModeCredit(ALICE), 0);
        vm.assertEq(game.normalModeCredit(PROPOSER), INIT_BOND);
    }

    /// @notice An attack that stands beats any defence that stands, whichever came first.
    function test_resolve_leftmostWins() public {
        moveAs(PROPOSER, 0, lie(1), true);
        moveAs(ALICE, 1, lie(2), false);
        moveAs(BOB, 1, lie(3), true);
        expire();
        resolveAll();
        vm.assertEq(claimAt(1).counteredBy, BOB);
    }

    /// @notice Among answers at the same place, the first posted wins.
    function test_resolve_earliestWinsTies() public {
        moveAs(PROPOSER, 0, lie(1), true);
        moveAs(ALICE, 1, lie(2), true);
        moveAs(BOB, 1, lie(3), true);
        expire();
        resolveAll();
        vm.assertEq(claimAt(1).counteredBy, ALICE);
    }

    /// @notice An answer that fell does not count, however far left it stood.
    function test_resolve_fallenAnswersDoNotCount() public {
        moveAs(PROPOSER, 0, lie(1), true);
        moveAs(ALICE, 1, lie(2), true);
        moveAs(BOB, 1, lie(3), false);
        moveAs(CAROL, 2, lie(4), true);
        expire();
        resolveAll();
        vm.assertEq(claimAt(2).counteredBy, CAROL);
        vm.assertEq(claimAt(1).counteredBy, BOB);
    }

    /// @notice A claim stands if every one of its answers fell, and its bond goes back; in one call as in pages.
    function testFuzz_resolve_allAnswersFallen(uint256 count, uint256 page) public {
        count = bound(count, 1, 12);
        page = bound(page, 0, count);
        moveAs(ALICE, 0, lie(1), true);
        for (uint256 i = 0; i < count; ++i) {
            moveAs(BOB, 1, lie(10 + i), i % 2 == 0);
        }
        for (uint256 i = 0; i < count; ++i) {
            moveAs(CAROL, 2 + i, lie(100), true);
        }
        expire();
        for (uint256 i = game.claimDataLen(); i > 2; --i) {
            game.resolveClaim(i - 1, 0);
        }
        while (!game.resolvedSubgames(1)) game.resolveClaim(1, page);
        vm.assertEq(claimAt(1).counteredBy, address(0));
        vm.assertEq(game.normalModeCredit(ALICE), claimAt(1).bond);
        game.resolveClaim(0, 0);
        vm.assertTrue(game.resolve() == GameStatus.CHALLENGER_WINS);
    }

    function test_resolve_stepperTakesTheLeaf() public {
        uint256 leaf = attackDownTo(D);
        bytes memory firstState = abi.encode(alphabet.firstState());
        vm.prank(BOB);
        game.step(leaf, true, firstState, "");
        skip(CLOCK);
        game.resolveClaim(leaf, 0);
        vm.assertEq(game.normalModeCredit(BOB), claimAt(leaf).bond);
        resolveAll();
        vm.assertTrue(game.status() == GameStatus.CHALLENGER_WINS);
    }

    /// @notice A step made after its leaf was settled leaves the leaf's bond where it is, but counts for the parent.
    function test_resolve_lateStepCountsForTheParent() public {
        uint256 leaf = attackDownTo(D);
        skip(CLOCK);
        game.resolveClaim(leaf, 0);
        vm.assertEq(game.normalModeCredit(address(this)), claimAt(leaf).bond);
        bytes memory firstState = abi.encode(alphabet.firstState());
        vm.prank(BOB);
        game.step(leaf, true, firstState, "");
        game.resolveClaim(leaf - 1, 0);
        vm.assertEq(claimAt(leaf - 1).counteredBy, address(0));
        vm.assertEq(game.normalModeCredit(BOB), 0);
        vm.assertEq(game.normalModeCredit(address(this)), claimAt(leaf).bond + claimAt(leaf - 1).bond);
    }

    /// @notice The root claim's bond is what the factory asked for, whatever that is.
    function testFuzz_resolve_anyRootBond(uint96 bond) public {
        vm.prank(OWNER);
        factory.setInitBond(CANNON, bond);
        vm.deal(ALICE, bond);
        vm.prank(ALICE);
        game = FaultDisputeGame(payable(address(factory.create{value: bond}(CANNON, lie(7), abi.encode(REQUEST)))));
        vm.assertEq(claimAt(0).bond, bond);
        vm.assertEq(game.refundModeCredit(ALICE), bond);
        moveAs(BOB, 0, lie(1), true);
        expire();
        resolveAll();
        vm.assertEq(game.normalModeCredit(BOB), bond + claimAt(1).bond);
    }

    // ---------------------------------------------------------------- refusals, in order

    function test_resolveClaim_errorsInOrder() public {
        attack(attack(0, lie(1)), lie(2));
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x32));
        game.resolveClaim(3, 0);
        vm.expectRevert(ClockNotExpired.selector);
        game.resolveClaim(0, 0);
        skip(CLOCK - 1);
        vm.expectRevert(ClockNotExpired.selector);
        game.resolveClaim(2, 0);
        skip(1);
        vm.expectRevert(OutOfOrderResolution.selector);
        game.resolveClaim(1, 0);
        game.resolveClaim(2, 0);
        vm.expectRevert(ClaimAlreadyResolved.selector);
        game.resolveClaim(2, 0);
        vm.expectRevert(OutOfOrderResolution.selector);
        game.resolve();
        resolveAll();
        vm.expectRevert(GameNotInProgress.selector);
        game.resolveClaim(99, 0);
        vm.expectRevert(GameNotInProgress.selector);
        game.resolve();
    }

    /// @notice A claim whose own time is over waits for those below it.
    function test_resolveClaim_waitsForTheClocksBelow() public {
        attack(0, lie(1));
        skip(CLOCK - 10);
        attack(1, lie(2));
        skip(10);
        vm.expectRevert(OutOfOrderResolution.selector);
        game.resolveClaim(0, 0);
        vm.expectRevert(OutOfOrderResolution.selector);
        game.resolveClaim(1, 0); // it was answered at the last second, and the answer can be answered
        vm.expectRevert(ClockNotExpired.selector);
        game.resolveClaim(2, 0);
    }

    // ---------------------------------------------------------------- several calls

    function manyAnswers(uint256 count) internal {
        moveAs(PROPOSER, 0, lie(1), true);
        for (uint256 i = 0; i < count; ++i) {
            moveAs(i == 2 ? BOB : ALICE, 1, lie(10 + i), i == 2);
        }
        expire();
        for (uint256 i = 0; i < count; ++i) {
            game.resolveClaim(2 + i, 0);
        }
    }

    function checkpoint(uint256 index) internal view returns (bool, uint32, uint128, address) {
        (bool started, uint32 cursor, Position leftmost, address by) = game.resolutionCheckpoints(index);
        return (started, cursor, leftmost.raw(), by);
    }

    function checkCheckpoint(uint256 index, uint256 cursor, uint128 leftmost, address by) internal view {
        (bool started, uint32 at, uint128 position, address who) = checkpoint(index);
        vm.assertTrue(started);
        vm.assertEq(at, cursor);
        vm.assertEq(position, leftmost);
        vm.assertEq(who, by);
    }

    function test_resolveClaim_inPages() public {
        manyAnswers(5);
        vm.assertEq(game.getNumToResolve(1), 5);
        game.resolveClaim(1, 2);
        vm.assertEq(game.getNumToResolve(1), 3);
        checkCheckpoint(1, 2, 6, ALICE); // a defence, so far
        vm.assertFalse(game.resolvedSubgames(1));
        game.resolveClaim(1, 0); // not a first call: nothing happens
        vm.assertEq(game.getNumToResolve(1), 3);
        game.resolveClaim(1, 1);
        checkCheckpoint(1, 3, 4, BOB);
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x11));
        game.resolveClaim(1, type(uint256).max);
        game.resolveClaim(1, 512);
        vm.assertEq(game.getNumToResolve(1), 0);
        vm.assertTrue(game.resolvedSubgames(1));
        vm.assertEq(claimAt(1).counteredBy, BOB);
        vm.expectRevert(ClaimAlreadyResolved.selector);
        game.resolveClaim(1, 512);
    }

    /// @notice Of a claim that is not there, however far away, all is nought; as of one that is not being resolved.
    function test_views_ofNothingResolved() public {
        attack(0, lie(1));
        vm.assertEq(game.getNumToResolve(0), 1);
        uint256[3] memory places = [1, game.claimDataLen(), type(uint256).max];
        for (uint256 i = 0; i < places.length; ++i) {
            (bool started, uint32 cursor, uint128 leftmost, address by) = checkpoint(places[i]);
            vm.assertEq(abi.encode(started, cursor, leftmost, by), abi.encode(false, 0, NO_POSITION.raw(), address(0)));
            vm.assertEq(game.getNumToResolve(places[i]), 0);
            vm.assertFalse(game.resolvedSubgames(places[i]));
        }
    }

    /// @notice However it is cut into pages, the same claim wins.
    function testFuzz_resolveClaim_pagesDoNotMatter(uint256 seed) public {
        manyAnswers(9);
        while (!game.resolvedSubgames(1)) {
            seed = uint256(keccak256(abi.encode(seed)));
            game.resolveClaim(1, 1 + seed % 4);
        }
        vm.assertEq(claimAt(1).counteredBy, BOB);
    }

    /// @notice A page that meets an open claim changes nothing.
    function test_resolveClaim_failedPageKeepsTheEarlierOnes() public {
        attack(0, lie(1));
        attack(1, lie(2));
        attack(1, lie(3));
        expire();
        game.resolveClaim(2, 0);
        game.resolveClaim(1, 1);
        vm.expectRevert(OutOfOrderResolution.selector);
        game.resolveClaim(1, 1);
        checkCheckpoint(1, 1, 4, address(this));
    }

    /// @notice A claim without answers has no checkpoint; the root has one all the same.
    function test_resolveClaim_checkpointsOfClaimsWithoutAnswers() public {
        attack(0, lie(1));
        expire();
        game.resolveClaim(1, 0);
        (bool started,,,) = checkpoint(1);
        vm.assertFalse(started);
        propose(lie(9));
        expire();
        game.resolveClaim(0, 0);
        checkCheckpoint(0, 0, type(uint128).max, address(0));
    }
}

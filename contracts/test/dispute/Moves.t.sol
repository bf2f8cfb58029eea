// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {GameFixture} from "./helpers/GameFixture.sol";
import {Clock, newClock} from "../../src/dispute/Clock.sol";
import "../../src/dispute/Errors.sol";
import {Position} from "../../src/dispute/Position.sol";
import {ClaimData} from "./helpers/ClaimData.sol";
import {IFaultDisputeGame} from "../../src/dispute/interfaces/IFaultDisputeGame.sol";
import {Claim} from "../../src/dispute/Claim.sol";
import {Duration, Timestamp} from "../../src/dispute/Time.sol";

/// @notice What a move does, what is refused and in which order, and what the clocks show.
contract MovesTest is GameFixture {
    function setUp() public override {
        super.setUp();
        propose(lie(0));
    }

    // ---------------------------------------------------------------- effects

    function test_move_recordsTheClaim() public {
        vm.warp(block.timestamp + 100);
        uint256 bond = game.getRequiredBond(Position.wrap(2));
        uint256 before = address(game).balance;

        vm.expectEmit(address(game));
        emit IFaultDisputeGame.Move(0, lie(1), CHALLENGER);
        vm.expectEmit(address(game));
        emit IFaultDisputeGame.ClaimAdded(
            1,
            0,
            CHALLENGER,
            lie(1),
            Position.wrap(2),
            uint128(bond),
            newClock(Duration.wrap(100), Timestamp.wrap(uint64(block.timestamp)))
        );
        vm.prank(CHALLENGER);
        game.attack{value: bond}(lie(0), 0, lie(1));

        vm.assertEq(game.claimDataLen(), 2);
        ClaimData memory added = claimAt(1);
        vm.assertEq(added.parentIndex, 0);
        vm.assertEq(added.counteredBy, address(0));
        vm.assertEq(added.claimant, CHALLENGER);
        vm.assertEq(added.bond, bond);
        vm.assertEq(added.claim.raw(), lie(1).raw());
        vm.assertEq(added.position.raw(), 2);
        vm.assertEq(Clock.unwrap(added.clock), (uint256(100) << 64) | block.timestamp);
        vm.assertEq(game.subgames(0, 0), 1);
        vm.assertEq(game.refundModeCredit(CHALLENGER), bond);
        vm.assertEq(address(game).balance, before + bond);
        vm.assertEq(weth.balanceOf(address(game)), 0);
        // A reply does not counter a claim: that is for resolution to say.
        vm.assertEq(claimAt(0).counteredBy, address(0));
    }

    function test_move_attackAndDefendAreShorthands() public {
        uint256 one = attack(0, lie(1));
        uint256 bond = bondOf(one, false);
        game.defend{value: bond}(lie(1), one, lie(2));
        vm.assertEq(claimAt(2).position.raw(), 6);
        bond = bondOf(one, true);
        game.attack{value: bond}(lie(1), one, lie(2));
        vm.assertEq(claimAt(3).position.raw(), 4);
    }

    function test_move_keyOfTheDuplicateMap() public {
        attack(0, Claim.wrap(0xa1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1));
        vm.assertTrue(game.claims(0x5b2f6eaaa243edf8ed21fcb89aca94d155f9c3e01794900333027f60f5648f8f));
        defend(1, Claim.wrap(0xa2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2));
        vm.assertTrue(game.claims(0xf046200d83750a018ea30036ac2e3f4282206f87b77f08c9087b2c79a2453491));
    }

    /// @notice Every answer has its key, the first to a claim as well as those after it; nothing else has.
    function test_move_everyAnswerHasItsKey() public {
        attack(0, lie(1));
        for (uint256 i = 0; i < 20; ++i) {
            moveAs(address(this), 1, lie(10 + i / 2), i % 2 == 0);
            vm.assertEq(game.subgames(1, i), 2 + i);
        }
        for (uint256 i = 1; i < game.claimDataLen(); ++i) {
            ClaimData memory c = claimAt(i);
            bytes memory key = abi.encodePacked(c.claim, c.position.raw(), uint128(c.parentIndex));
            vm.assertTrue(game.claims(keccak256(key)));
            vm.assertFalse(game.claims(keccak256(bytes.concat(key, hex"00"))));
            uint256 bond = bondOf(c.parentIndex, c.position.raw() == 2 * claimAt(c.parentIndex).position.raw());
            Claim disputed = claimAt(c.parentIndex).claim;
            bool isAttack = c.position.raw() == 2 * claimAt(c.parentIndex).position.raw();
            vm.expectRevert(ClaimAlreadyExists.selector);
            game.move{value: bond}(disputed, c.parentIndex, c.claim, isAttack);
        }
        ClaimData memory root = claimAt(0);
        vm.assertFalse(
            game.claims(keccak256(abi.encodePacked(root.claim, root.position.raw(), uint128(root.parentIndex))))
        );
        vm.assertFalse(game.claims(keccak256(new bytes(64)))); // of a claim of zeros, as storage has them behind the last
    }

    /// @notice Past the end, and of a claim that does not exist: no data, as arrays in mappings have it.
    function test_subgames_endWithoutData() public {
        vm.expectRevert(bytes(""));
        game.subgames(0, 0);
        attack(0, lie(1));
        vm.assertEq(game.subgames(0, 0), 1);
        vm.expectRevert(bytes(""));
        game.subgames(0, 1);
        defend(1, lie(2));
        defend(1, lie(3));
        vm.assertEq(game.subgames(1, 1), 3);
        vm.expectRevert(bytes(""));
        game.subgames(1, 2);
        vm.expectRevert(bytes(""));
        game.subgames(9, 0);
    }

    function test_move_sameClaimElsewhereIsAnother() public {
        uint256 one = attack(0, lie(1));
        attack(0, lie(2));
        attack(one, lie(9));
        attack(one, lie(8)); // another value, same place
        defend(one, lie(9)); // same value, another position
        attack(2, lie(9)); // same value and position, another parent
        vm.assertEq(game.claimDataLen(), 7);
    }

    function test_move_anyoneAgainstAnyone_alsoThemselves() public {
        uint256 one = moveAs(PROPOSER, 0, lie(1), true);
        moveAs(PROPOSER, one, lie(2), true);
        moveAs(PROPOSER, one, lie(3), true);
        vm.assertEq(game.claimDataLen(), 4);
    }

    // ---------------------------------------------------------------- refusals, in order

    /// @dev Calls move with exactly these, expecting `reason`.
    function expectRefusal(
        bytes memory reason,
        uint256 value,
        Claim disputed,
        uint256 index,
        Claim claim,
        bool isAttack
    ) internal {
        vm.expectRevert(reason);
        game.move{value: value}(disputed, index, claim, isAttack);
    }

    function refusal(bytes4 selector) internal pure returns (bytes memory) {
        return abi.encodePacked(selector);
    }

    function panic(uint256 code) internal pure returns (bytes memory) {
        return abi.encodeWithSignature("Panic(uint256)", code);
    }

    function test_move_errorsInOrder_aboveTheSplit() public {
        attackDownTo(S - 1);
        uint256 deep = game.claimDataLen() - 1;
        skip(CLOCK * 2);

        // Wrong index, wrong disputed claim, defence of the root, wrong bond, no time left.
        expectRefusal(panic(0x32), 1 wei, lie(99), deep + 1, lie(1), false);
        expectRefusal(refusal(InvalidDisputedClaimIndex.selector), 1 wei, lie(99), 0, lie(1), false);
        expectRefusal(refusal(CannotDefendRootClaim.selector), 1 wei, lie(0), 0, lie(1), false);
        expectRefusal(refusal(IncorrectBondAmount.selector), 1 wei, lie(0), 0, lie(1), true);
        // The same claim again: only time speaks against it sooner.
        uint256 bond = bondOf(0, true);
        expectRefusal(refusal(ClockTimeExceeded.selector), bond, lie(0), 0, lie(1), true);
        vm.warp(game.createdAt().raw());
        expectRefusal(refusal(ClaimAlreadyExists.selector), bond, lie(0), 0, lie(1), true);
    }

    function test_move_errorsInOrder_atTheSplit() public {
        uint256 leaf = attackDownTo(S);
        skip(CLOCK * 2);
        Claim unfinished = withStatus(lie(5), 3);
        expectRefusal(
            abi.encodeWithSelector(UnexpectedRootClaim.selector, unfinished), 1 wei, lie(S), leaf, unfinished, true
        );
        expectRefusal(refusal(IncorrectBondAmount.selector), 1 wei, lie(S), leaf, lie(5), true);
        expectRefusal(refusal(ClockTimeExceeded.selector), bondOf(leaf, true), lie(S), leaf, lie(5), true);
    }

    function test_move_errorsInOrder_belowTheSplit() public {
        uint256 execRoot = attackDownTo(S + 1);
        expectRefusal(refusal(CannotDefendRootClaim.selector), 1 wei, lie(S + 1), execRoot, lie(6), false);
        uint256 index = execRoot;
        for (uint256 depth = S + 2; depth <= D; ++depth) {
            index = attack(index, lie(depth));
        }
        skip(CLOCK * 2);
        expectRefusal(refusal(GameDepthExceeded.selector), 1 wei, lie(D), index, lie(9), true);
        expectRefusal(refusal(GameDepthExceeded.selector), 1 wei, lie(D), index, lie(9), false);
    }

    function test_move_notOnceResolved() public {
        skip(CLOCK);
        resolveAll();
        // Before anything else is looked at.
        expectRefusal(refusal(GameNotInProgress.selector), 1 wei, lie(99), 99, lie(1), false);
    }

    function test_getRequiredBond_knowsTheDepth() public {
        vm.assertEq(game.getRequiredBond(Position.wrap(1)), 0.08 ether);
        vm.assertEq(game.getRequiredBond(Position.wrap(uint128(2 ** D))), 59.9999998 ether);
        vm.expectRevert(GameDepthExceeded.selector);
        game.getRequiredBond(Position.wrap(uint128(2 ** (D + 1))));
        vm.assertEq(game.getRequiredBond(Position.wrap(0)), 0.08 ether); // no place, but the published game answers
    }

    /// @notice Beyond the end `claimData` refuses without data, as the published game's array getter does.
    function test_claimData_beyondTheEnd() public {
        uint256 count = game.claimDataLen();
        vm.expectRevert(bytes(""));
        game.claimData(count);
        vm.expectRevert(bytes(""));
        game.claimData(type(uint256).max);
    }

    function testFuzz_move_takesTheExactBondOnly(uint256 value) public {
        uint256 bond = bondOf(0, true);
        value = bound(value, 0, 1000 ether);
        if (value != bond) vm.expectRevert(IncorrectBondAmount.selector);
        game.attack{value: value}(lie(0), 0, lie(1));
    }

    // ---------------------------------------------------------------- status byte of execution roots

    /// @notice For each path to a leaf (A attack, D defend), what the status byte of an answer must be.
    function test_executionRoot_statusByPath() public {
        // path as bits from the second move on (1 = defend), whether a defence must say "valid"
        bool[8] memory defenceSaysValid = [true, false, true, true, true, false, true, false];
        for (uint256 path = 0; path < 8; ++path) {
            propose(Claim.wrap(keccak256(abi.encode("root", path))));
            uint256 leaf = attack(0, lie(1));
            for (uint256 bit = 3; bit > 0; --bit) {
                bool isDefence = (path >> (bit - 1)) & 1 == 1;
                leaf = moveAs(address(this), leaf, lie(5 - bit), !isDefence);
            }
            vm.assertEq(claimAt(leaf).position.raw(), 16 + 2 * path);
            for (uint8 status = 0; status <= 4; ++status) {
                tryExecutionRoot(leaf, true, status, status == 1 || status == 2);
                bool isMeant = defenceSaysValid[path] ? status == 0 : status == 1 || status == 2;
                tryExecutionRoot(leaf, false, status, isMeant);
            }
        }
    }

    function tryExecutionRoot(uint256 leaf, bool isAttack, uint8 status, bool isMeant) internal {
        Claim execRoot = withStatus(lie(9), status);
        Claim disputed = claimAt(leaf).claim;
        uint256 bond = bondOf(leaf, isAttack);
        if (!isMeant) vm.expectRevert(abi.encodeWithSelector(UnexpectedRootClaim.selector, execRoot));
        game.move{value: bond}(disputed, leaf, execRoot, isAttack);
    }

    // ---------------------------------------------------------------- clocks

    /// @notice A side that answers at the last second keeps an extension, whose length depends on the new claim's depth.
    function test_clock_extensionsByDepth() public {
        uint64[7] memory extensions =
            [EXTENSION, EXTENSION, 2 * EXTENSION, EXTENSION, EXTENSION, EXTENSION, EXTENSION + CHALLENGE_PERIOD];
        for (uint256 depth = 1; depth <= 7; ++depth) {
            propose(Claim.wrap(keccak256(abi.encode("clock", depth))));
            uint256 parent = attackDownTo(depth - 1);
            skip(CLOCK - 1 - game.getChallengerDuration(parent).raw());
            vm.assertEq(game.getChallengerDuration(parent).raw(), CLOCK - 1);
            uint256 added = attack(parent, lie(depth));
            vm.assertEq(claimAt(added).clock.duration().raw(), CLOCK - extensions[depth - 1]);
            vm.assertEq(claimAt(added).clock.timestamp().raw(), block.timestamp);
        }
    }

    function test_clock_ofTheDeepestClaim() public {
        uint256 parent = attackDownTo(D - 1);
        skip(CLOCK - 1 - game.getChallengerDuration(parent).raw());
        uint256 added = attack(parent, lie(D));
        vm.assertEq(claimAt(added).clock.duration().raw(), CLOCK - EXTENSION);
    }

    function test_clock_secondsCount() public {
        skip(CLOCK - 1);
        uint256 before = vm.snapshotState();
        attack(0, lie(1));
        vm.revertToState(before);
        skip(1);
        uint256 bond = bondOf(0, true);
        vm.expectRevert(ClockTimeExceeded.selector);
        game.attack{value: bond}(lie(0), 0, lie(1));
    }

    /// @notice Each side's clock runs only while it is that side's turn.
    function testFuzz_clock_isAChessClock(uint256[8] memory waits) public {
        uint256[2] memory used;
        uint256 index = 0;
        for (uint256 depth = 1; depth <= D; ++depth) {
            uint256 side = depth % 2;
            uint256 wait = bound(waits[depth - 1], 0, 20_000); // never near the end: no extensions here
            skip(wait);
            used[side] += wait;
            vm.assertEq(game.getChallengerDuration(index).raw(), used[side]);
            index = attack(index, lie(depth));
            vm.assertEq(claimAt(index).clock.duration().raw(), used[side]);
        }
    }

    function test_clock_stopsAtTheMaximum() public {
        skip(CLOCK * 10);
        vm.assertEq(game.getChallengerDuration(0).raw(), CLOCK);
    }

    function test_getChallengerDuration_endsWithTheGame() public {
        skip(CLOCK);
        resolveAll();
        vm.expectRevert(GameNotInProgress.selector);
        game.getChallengerDuration(0);
    }
}

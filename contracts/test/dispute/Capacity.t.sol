// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {GameFixture} from "./helpers/GameFixture.sol";
import {ClaimData} from "./helpers/ClaimData.sol";
import "../../src/dispute/Errors.sol";
import {FaultDisputeGame} from "../../src/dispute/FaultDisputeGame.sol";
import {NO_PARENT} from "../../src/dispute/PackedClaim.sol";
import {CLAIM_COUNT_AT, PLAYER_COUNT_AT} from "../../src/dispute/PackedGame.sol";
import {GameLimits} from "../../src/dispute/Types.sol";
import {Duration} from "../../src/dispute/Time.sol";

/// @notice Where the fields of a stored claim end: the last value that fits is kept, the next is refused by name.
contract CapacityTest is GameFixture {
    /// @dev The word with the game's counts.
    bytes32 internal constant GAME_SLOT = 0;

    function setUp() public override {
        super.setUp();
        propose(lie(0));
    }

    /// @dev Makes the game believe that it has `count` of something.
    function pretend(uint256 at, uint32 count) internal {
        uint256 word = uint256(vm.load(address(game), GAME_SLOT));
        word = word & ~(uint256(type(uint32).max) << at) | uint256(count) << at;
        vm.store(address(game), GAME_SLOT, bytes32(word));
    }

    /// @notice Indices of all sizes, also of a first answer that is not the next claim.
    function testFuzz_claimIndices(uint32 index) public {
        index = uint32(bound(index, 2, NO_PARENT - 1));
        attack(0, lie(1));
        pretend(CLAIM_COUNT_AT, index);
        vm.assertEq(moveAs(CHALLENGER, 1, lie(2), true), index);
        ClaimData memory added = claimAt(index);
        vm.assertEq(added.claim.raw(), lie(2).raw());
        vm.assertEq(added.parentIndex, 1);
        vm.assertEq(added.claimant, CHALLENGER);
        vm.assertEq(game.claimDataLen(), uint256(index) + 1);
        vm.assertEq(game.subgames(1, 0), index);
        vm.expectRevert();
        game.subgames(1, 1);
    }

    function test_move_tooManyClaims() public {
        pretend(CLAIM_COUNT_AT, NO_PARENT);
        uint256 bond = bondOf(0, true);
        vm.expectRevert(TooManyClaims.selector);
        game.attack{value: bond}(lie(0), 0, lie(1));
    }

    /// @notice A newcomer is refused where numbers end; who has a number, and the creator, go on playing.
    function testFuzz_playerNumbers(uint32 known) public {
        known = uint32(bound(known, 0, type(uint32).max - 3));
        pretend(PLAYER_COUNT_AT, known);
        vm.assertEq(claimAt(moveAs(CHALLENGER, 0, lie(1), true)).claimant, CHALLENGER);
        pretend(PLAYER_COUNT_AT, type(uint32).max - 2);
        vm.assertEq(claimAt(moveAs(address(this), 0, lie(2), true)).claimant, address(this));
        address newcomer = makeAddr("newcomer");
        vm.deal(newcomer, 1e6 ether);
        uint256 bond = bondOf(0, true);
        vm.prank(newcomer);
        vm.expectRevert(TooManyClaims.selector);
        game.attack{value: bond}(lie(0), 0, lie(3));
        vm.assertEq(claimAt(moveAs(CHALLENGER, 0, lie(3), true)).claimant, CHALLENGER);
        vm.assertEq(claimAt(moveAs(PROPOSER, 0, lie(4), true)).claimant, PROPOSER);
        vm.assertEq(claimAt(1).claimant, CHALLENGER);
    }

    /// @notice A claim that is made up to 2^32 - 1 seconds after the game keeps its time; later there are none.
    function testFuzz_time(uint256 late) public {
        implementation = new FaultDisputeGame(
            GameLimits(90, 64, Duration.wrap(EXTENSION), Duration.wrap(type(uint64).max)), terms()
        );
        vm.prank(OWNER);
        factory.setImplementation(CANNON, implementation, gameArgs());
        propose(lie(9));
        uint256 start = block.timestamp;
        late = bound(late, 0, type(uint32).max);
        vm.warp(start + late);
        uint256 one = moveAs(CHALLENGER, 0, lie(1), true);
        vm.assertEq(claimAt(one).clock.timestamp().raw(), start + late);
        vm.assertEq(claimAt(one).clock.duration().raw(), late);
        vm.warp(start + type(uint32).max);
        uint256 two = moveAs(PROPOSER, one, lie(2), true);
        vm.assertEq(claimAt(two).clock.timestamp().raw(), start + type(uint32).max);
        vm.assertEq(claimAt(two).clock.duration().raw(), type(uint32).max - late);
        vm.warp(start + type(uint32).max + 1);
        uint256 bond = bondOf(two, true);
        vm.expectRevert(ClockTimeExceeded.selector);
        game.attack{value: bond}(lie(2), two, lie(3));
    }

    /// @notice A root bond that does not fit its 96 bits makes no game.
    function test_rootBond_tooLarge() public {
        uint256 bond = uint256(type(uint96).max) + 1;
        vm.prank(OWNER);
        factory.setInitBond(CANNON, bond);
        vm.deal(address(this), 2 * bond);
        vm.expectRevert(IncorrectBondAmount.selector);
        factory.create{value: bond}(CANNON, lie(1), abi.encode(REQUEST));
        vm.prank(OWNER);
        factory.setInitBond(CANNON, bond - 1);
        game = FaultDisputeGame(payable(address(factory.create{value: bond - 1}(CANNON, lie(1), abi.encode(REQUEST)))));
        vm.assertEq(claimAt(0).bond, bond - 1);
        vm.assertEq(game.refundModeCredit(address(this)), bond - 1);
    }
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {GameFixture} from "./helpers/GameFixture.sol";
import {ClaimData} from "./helpers/ClaimData.sol";
import {UnexpectedRootClaim, ValidStep} from "../../src/dispute/Errors.sol";
import {Claim} from "../../src/dispute/Claim.sol";
import {IFpvm} from "../../src/dispute/interfaces/IFpvm.sol";
import {MAX_POSITION_DEPTH} from "../../src/dispute/Position.sol";
import {VmStatus, stateHashOf} from "../../src/vm/StateHash.sol";

/// @notice Games as deep as a stored claim has room for: any line of moves to a step at the bottom, and the settlement of it.
///         Places are worked out as leaves of the whole trace, by sums of powers of two.
contract DeepestTest is GameFixture {
    uint64 internal constant SPLIT = 64;
    uint64 internal constant DEEPEST = 90;
    uint256 internal constant LEAVES = 2 ** (DEEPEST - SPLIT - 1);

    address internal immutable STEPPER = makeAddr("stepper");

    /// @dev For each depth, the leaf that the line's claim speaks about.
    uint256[91] internal leafOf;
    uint8 internal execStatus;

    function witness(uint256 depth) internal pure returns (bytes memory) {
        return abi.encode("the state that is claimed at depth", depth);
    }

    function value(uint256 depth) internal view returns (Claim) {
        uint8 status = depth == SPLIT + 1 ? execStatus : VmStatus.UNFINISHED;
        return Claim.wrap(stateHashOf(keccak256(witness(depth)), status).raw());
    }

    function player(uint256 depth) internal view returns (address) {
        return depth % 2 == 0 ? PROPOSER : CHALLENGER;
    }

    /// @dev Bit d of `turns` says whether the move to depth d is an attack, where the game leaves a choice.
    function goDown(uint256 turns) internal {
        (execStatus, leafOf[0]) = (VmStatus.INVALID, 2 ** DEEPEST - 1);
        propose(value(0));
        for (uint256 d = 1; d <= DEEPEST; ++d) {
            bool isAttack = d == 1 || d == SPLIT + 2 || (turns >> d) % 2 == 1;
            leafOf[d] = isAttack ? leafOf[d - 1] - 2 ** (DEEPEST - d) : leafOf[d - 1] + 2 ** (DEEPEST - d);
            skip(d % 3);
            if (d == SPLIT + 1) agreeOnStatus(d, isAttack);
            moveAs(player(d), d - 1, value(d), isAttack);

            ClaimData memory made = claimAt(d);
            vm.assertEq(made.position.raw(), 2 ** d + ((leafOf[d] + 1) >> (DEEPEST - d)) - 1);
            vm.assertEq(made.parentIndex, d - 1);
            vm.assertEq(made.claimant, player(d));
            vm.assertEq(made.claim.raw(), value(d).raw());
            vm.assertEq(made.clock.timestamp().raw(), block.timestamp);
        }
    }

    /// @dev Takes the other status for the execution root if the game says that the first one cannot be meant.
    function agreeOnStatus(uint256 depth, bool isAttack) internal {
        (uint256 bond, Claim disputed) = (bondOf(depth - 1, isAttack), claimAt(depth - 1).claim);
        uint256 before = vm.snapshotState();
        bool isMeant = true;
        vm.prank(player(depth));
        try game.move{value: bond}(disputed, depth - 1, value(depth), isAttack) {}
        catch (bytes memory reason) {
            vm.assertEq(bytes4(reason), UnexpectedRootClaim.selector);
            isMeant = false;
        }
        vm.revertToState(before);
        if (!isMeant) execStatus = VmStatus.VALID;
    }

    /// @dev The depth of the subgame's claim about a leaf; it must be there.
    function depthOfClaimAbout(uint256 leaf) internal view returns (uint256 depth) {
        for (depth = SPLIT + 1; leafOf[depth] != leaf; ++depth) {}
    }

    function stepTo(bytes32 result, bool isAttack, bytes memory pre) internal {
        vm.mockCall(address(alphabet), abi.encodePacked(IFpvm.step.selector), abi.encode(result));
        vm.prank(STEPPER);
        game.step(DEEPEST, isAttack, pre, "");
    }

    function check(uint256 turns, uint64 nodes, bool isAttack) internal {
        vm.assertEq(DEEPEST, MAX_POSITION_DEPTH);
        registry.setParameters(alphabet.truth(0), nodes, SPLIT, DEEPEST);
        goDown(turns);
        uint256 leaf = leafOf[DEEPEST];
        bytes memory pre = witness(DEEPEST);
        uint256 post = DEEPEST;
        if (!isAttack) post = depthOfClaimAbout(leaf + 1);
        else if (leaf % LEAVES == 0) pre = abi.encode(alphabet.firstState());
        else pre = witness(depthOfClaimAbout(leaf - 1));

        // A state of the own side must be wrong, one of the other side right.
        bool counters = (DEEPEST - post) % 2 == 1;
        (bytes32 right, bytes32 wrong) = (value(post).raw(), bytes32(uint256(1)));
        vm.expectRevert(ValidStep.selector);
        this.tryStep(counters ? wrong : right, isAttack, pre);
        stepTo(counters ? right : wrong, isAttack, pre);
        vm.assertEq(claimAt(DEEPEST).counteredBy, STEPPER);

        skip(2 * CLOCK);
        resolveAll();
        uint256 whole = address(game).balance;
        uint256 credits = game.normalModeCredit(PROPOSER) + game.normalModeCredit(CHALLENGER);
        vm.assertEq(credits + game.normalModeCredit(STEPPER), whole);
        vm.assertEq(game.normalModeCredit(STEPPER), claimAt(DEEPEST).bond);
        vm.assertEq(game.normalModeCredit(PROPOSER), 0);
    }

    function tryStep(bytes32 result, bool isAttack, bytes memory pre) external {
        stepTo(result, isAttack, pre);
    }

    /// @notice Any line, for any number of nodes.
    /// forge-config: default.fuzz.runs = 12
    function testFuzz_anyLine(uint256 turns, uint64 nodes, bool isAttack) public {
        check(turns, nodes == 0 ? 1 : nodes, isAttack);
    }

    /// @notice The first leaf of all: every position is a power of two.
    function test_leftEdge() public {
        check(type(uint256).max, type(uint64).max, true);
    }

    /// @notice The rightmost line that there is.
    function test_rightEdge() public {
        check(0, type(uint64).max, false);
    }

    /// @notice Lines that turn at one depth only, from either side: past each power of two.
    function test_turns() public {
        uint256 fresh = vm.snapshotState();
        for (uint256 d = 2; d <= DEEPEST; d += 22) {
            check(1 << d, 1, true);
            vm.revertToState(fresh);
            check(~(1 << d), type(uint64).max, false);
            vm.revertToState(fresh);
        }
    }
}

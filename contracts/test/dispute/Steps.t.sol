// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {GameFixture} from "./helpers/GameFixture.sol";
import {AlphabetOracle, AlphabetVm} from "./helpers/AlphabetVm.sol";
import "../../src/dispute/Errors.sol";
import {Position} from "../../src/dispute/Position.sol";
import {IFaultDisputeGame} from "../../src/dispute/interfaces/IFaultDisputeGame.sol";
import {Claim} from "../../src/dispute/Claim.sol";
import {StateRoot} from "../../src/dispute/StateRoot.sol";
import {LocalContext} from "../../src/vm/LocalContext.sol";
import {PreimageKey} from "../../src/vm/PreimageKey.sol";
import {StateHash} from "../../src/vm/StateHash.sol";

/// @notice The bottom of the game: which instruction a step executes, whom it counters, and what it reads.
contract StepsTest is GameFixture {
    /// @dev The one execution subgame of most tests: node 1 in dispute, S_0 agreed on.
    LocalContext internal context;
    bytes32 internal disputedRoot = keccak256("a wrong S_1");

    /// @dev Roots down to the leaf at position 16, and an execution root there. Returns its index.
    function openTrace() internal returns (uint256) {
        propose(lie(0));
        uint256 index = attackDownTo(S - 1);
        index = attack(index, Claim.wrap(disputedRoot));
        context = LocalContext.wrap(keccak256(abi.encode(disputedRoot, uint256(16))));
        return attack(index, withStatus(lie(5), 1));
    }

    /// @dev The true VM state after `steps` steps.
    function stateAfter(uint256 steps) internal view returns (AlphabetVm.State memory state) {
        state = alphabet.firstState();
        for (uint256 i = 0; i < steps; ++i) {
            state = alphabet.next(state, context, alphabet.truth(0), StateRoot.wrap(disputedRoot));
        }
    }

    function commitmentAfter(uint256 steps) internal view returns (Claim) {
        return Claim.wrap(alphabet.commitment(stateAfter(steps)).raw());
    }

    function step(uint256 index, bool isAttack, uint256 stepsBefore) internal {
        stepAs(address(this), index, isAttack, stepsBefore);
    }

    function stepAs(address who, uint256 index, bool isAttack, uint256 stepsBefore) internal {
        bytes memory state = abi.encode(stateAfter(stepsBefore));
        vm.prank(who);
        game.step(index, isAttack, state, "");
    }

    function refuseStep(bytes memory reason, uint256 index, bool isAttack, uint256 stepsBefore) internal {
        bytes memory state = abi.encode(stateAfter(stepsBefore));
        vm.expectRevert(reason);
        game.step(index, isAttack, state, "");
    }

    function refuseStep(bytes4 selector, uint256 index, bool isAttack, uint256 stepsBefore) internal {
        refuseStep(abi.encodePacked(selector), index, isAttack, stepsBefore);
    }

    // ---------------------------------------------------------------- whom a step counters

    /// @notice Attack on the first leaf: the VM starts from the absolute prestate, which no claim asserts.
    function test_step_attacksTheFirstLeaf() public {
        uint256 index = attack(attack(openTrace(), lie(6)), lie(7));
        uint256 wrong = attack(index, lie(8));
        uint256 right = attack(index, commitmentAfter(1));
        vm.assertEq(claimAt(wrong).position.raw(), 256);

        refuseStep(ValidStep.selector, right, true, 0);

        bytes memory first = abi.encode(stateAfter(0));
        StateHash second = commitmentAfter(1).asStateHash();
        vm.expectEmit(address(game));
        emit IFaultDisputeGame.Stepped(wrong, CHALLENGER, true, second);
        vm.prank(CHALLENGER);
        game.step(wrong, true, first, "");
        vm.assertEq(claimAt(wrong).counteredBy, CHALLENGER);
    }

    /// @notice Attack on another leaf: the state before it is what the nearest claim on the left asserts.
    function test_step_attacksALaterLeaf() public {
        uint256 six = attack(openTrace(), commitmentAfter(4)); // position 64: after 4 steps
        uint256 seven = defend(six, lie(7)); // position 130
        uint256 wrong = attack(seven, lie(8)); // position 260: after 5 steps
        uint256 right = attack(seven, commitmentAfter(5));
        vm.assertEq(claimAt(wrong).position.raw(), 260);

        step(wrong, true, 4);
        vm.assertEq(claimAt(wrong).counteredBy, address(this));
        refuseStep(ValidStep.selector, right, true, 4);
    }

    /// @notice Defence, the state after being the other side's claim: the step shows that side right.
    function test_step_defends_otherTeamWasRight() public {
        uint256 six = attack(openTrace(), commitmentAfter(4));
        addRoots(six);
        uint256 sevenRight = defend(six, commitmentAfter(6)); // position 130: after 6 steps
        uint256 countered = attack(sevenRight, commitmentAfter(5)); // position 260: after 5 steps
        step(countered, false, 5);
        vm.assertEq(claimAt(countered).counteredBy, address(this));

        uint256 sevenWrong = defend(six, lie(7));
        uint256 stands = attack(sevenWrong, commitmentAfter(5));
        refuseStep(ValidStep.selector, stands, false, 5);
    }

    /// @notice Defence, the state after being a claim of the claim's own side: the step shows that side wrong.
    function test_step_defends_ownTeamWasWrong() public {
        uint256 execRoot = openTrace();
        for (uint256 i = 0; i < 2; ++i) {
            bool isWrong = i == 0;
            uint256 six = attack(execRoot, isWrong ? lie(6) : commitmentAfter(4)); // position 64: after 4 steps
            uint256 seven = attack(six, commitmentAfter(2)); // position 128
            uint256 leaf = defend(seven, commitmentAfter(3)); // position 258: after 3 steps
            vm.assertEq(claimAt(leaf).position.raw(), 258);
            if (isWrong) step(leaf, false, 3);
            else refuseStep(ValidStep.selector, leaf, false, 3);
            vm.assertEq(claimAt(leaf).counteredBy, isWrong ? address(this) : address(0));
        }
    }

    /// @notice The last instruction of the trace: what comes after the last leaf but one is the execution root itself.
    function test_step_defends_againstTheExecutionRoot() public {
        propose(lie(0));
        uint256 leaf = attack(attackDownTo(S - 1), Claim.wrap(disputedRoot));
        context = LocalContext.wrap(keccak256(abi.encode(disputedRoot, uint256(16))));
        uint256 rightRoot = attack(leaf, commitmentAfter(LEAVES_PER_TRACE));
        uint256 index = defend(attack(rightRoot, commitmentAfter(4)), commitmentAfter(6));
        index = defend(index, commitmentAfter(7)); // position 262: after 7 steps
        vm.assertEq(claimAt(index).position.raw(), 262);
        // A program that has exited stays as it is, so the state after 8 steps is the state after 7, of which the root's
        // side was right.
        step(index, false, 7);
        vm.assertEq(claimAt(index).counteredBy, address(this));
    }

    /// @notice The status byte counts when a state is judged.
    function test_step_judgesTheStatusByte() public {
        uint256 index = attack(attack(openTrace(), lie(6)), lie(7));
        uint256 wrong = attack(index, withStatus(commitmentAfter(1), 0));
        step(wrong, true, 0);
        vm.assertEq(claimAt(wrong).counteredBy, address(this));
    }

    /// @notice The status byte does not count when a state is presented.
    function test_step_ignoresTheStatusByteOfThePrestate() public {
        uint256 six = attack(openTrace(), withStatus(commitmentAfter(4), 0));
        uint256 wrong = attack(defend(six, lie(7)), lie(8));
        step(wrong, true, 4);
        vm.assertEq(claimAt(wrong).counteredBy, address(this));
    }

    // ---------------------------------------------------------------- refusals, in order

    function test_step_errorsInOrder() public {
        uint256 seven = attack(attack(openTrace(), lie(6)), lie(7));
        uint256 leaf = attack(seven, commitmentAfter(1));

        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x32));
        game.step(leaf + 1, true, "", "");
        vm.expectRevert(InvalidParent.selector);
        game.step(seven, true, "", "");
        vm.expectRevert(InvalidParent.selector);
        game.step(0, false, "", "");
        refuseStep(InvalidPrestate.selector, leaf, true, 1);
        refuseStep(ValidStep.selector, leaf, true, 0);

        uint256 wrong = attack(seven, lie(8));
        step(wrong, true, 0);
        refuseStep(DuplicateStep.selector, wrong, true, 0);
        // The VM and the outcome are looked at before that.
        refuseStep(InvalidPrestate.selector, wrong, true, 1);

        skip(CLOCK * 3);
        resolveAll();
        vm.expectRevert(GameNotInProgress.selector);
        game.step(99, true, "", "");
    }

    /// @notice What the VM refuses, the game refuses for the same reason.
    function test_step_passesTheVmsErrorOn() public {
        propose(lie(0));
        bytes memory noState = "not a state";
        Claim claim = Claim.wrap(keccak256(noState));
        uint256 index = attack(attackDownTo(S), withStatus(lie(5), 1));
        index = attack(defend(attack(index, claim), lie(7)), lie(8));
        vm.expectRevert(abi.encodeWithSelector(AlphabetVm.BadState.selector, noState.length));
        game.step(index, true, noState, "");
    }

    /// @notice A step needs what its instruction reads, and the game provides it.
    function test_step_readsTheDisputedRoots() public {
        uint256 six = attack(openTrace(), commitmentAfter(4));
        uint256 wrong = defend(defend(six, lie(7)), lie(8)); // position 262: after 7 steps
        uint256 leaf = attack(defend(six, commitmentAfter(6)), commitmentAfter(5));
        vm.assertEq(claimAt(leaf).position.raw(), 260);
        // Instruction 6 exits.
        refuseStep(abi.encodeWithSelector(AlphabetOracle.NotLoaded.selector, 2, context), leaf, false, 5);
        addRoots(wrong); // any claim of the same subgame will do
        step(leaf, false, 5);
        vm.assertEq(claimAt(leaf).counteredBy, address(this));
    }

    function addRoots(uint256 index) internal {
        game.addLocalData(2, index, 0);
        game.addLocalData(3, index, 0);
    }

    /// @notice An account whose first act is a step is a player like others: who comes after it is another one.
    function test_step_byANewcomer() public {
        propose(lie(0));
        (address first, address second) = (makeAddr("first"), makeAddr("second"));
        uint256 leaf = attackDownTo(D);
        stepAs(first, leaf, true, 0);
        uint256 other = moveAs(CHALLENGER, claimAt(leaf).parentIndex, lie(70), true);
        stepAs(second, other, true, 0);
        vm.assertEq(claimAt(leaf).counteredBy, first);
        vm.assertEq(claimAt(other).claimant, CHALLENGER);
        vm.assertEq(claimAt(other).counteredBy, second);
        skip(CLOCK);
        game.resolveClaim(leaf, 0);
        game.resolveClaim(other, 0);
        vm.assertEq(game.normalModeCredit(first), claimAt(leaf).bond);
        vm.assertEq(game.normalModeCredit(second), claimAt(other).bond);
        vm.assertEq(game.normalModeCredit(CHALLENGER), 0);
    }

    /// @notice No clock ends the time for steps.
    function test_step_afterAllTimeIsUp() public {
        uint256 index = attack(attack(attack(openTrace(), lie(6)), lie(7)), lie(8));
        skip(CLOCK * 10);
        step(index, true, 0);
        vm.assertEq(claimAt(index).counteredBy, address(this));
    }

    // ---------------------------------------------------------------- local data

    /// @dev A game over 16 nodes, whose claims at depths 0 to 4 are 0xa0.., 0xa1.., 0xa2.., 0xa3.., 0xa4...
    function openLeaf(bool[3] memory isDefence) internal returns (uint256 leaf) {
        registry.setParameters(StateRoot.wrap("S_0"), 16, S, D);
        propose(letter(0));
        leaf = attack(0, letter(1));
        for (uint256 i = 0; i < 3; ++i) {
            leaf = moveAs(address(this), leaf, letter(2 + i), !isDefence[i]);
        }
    }

    function letter(uint256 depth) internal pure returns (Claim) {
        return Claim.wrap(bytes32((0xa0 + depth) * (type(uint256).max / 255)));
    }

    function root(uint256 depth) internal pure returns (StateRoot) {
        return letter(depth).asStateRoot();
    }

    function checkLocalData(
        uint256 index,
        StateRoot starting,
        StateRoot disputed,
        uint64 node,
        LocalContext expectedContext
    ) internal {
        checkLoad(2, index, starting.raw(), 32, expectedContext);
        checkLoad(3, index, disputed.raw(), 32, expectedContext);
        checkLoad(4, index, bytes32(bytes8(node)), 8, expectedContext);
        checkLoad(5, index, bytes32(bytes8(uint64(CHAIN_ID))), 8, expectedContext);
    }

    function checkLoad(uint256 ident, uint256 index, bytes32 word, uint256 size, LocalContext expectedContext)
        internal
    {
        vm.expectEmit(address(game));
        PreimageKey key = oracle.localKey(address(game), ident, expectedContext);
        emit IFaultDisputeGame.LocalDataAdded(ident, index, expectedContext, key, 8);
        game.addLocalData(ident, index, 8);
        AlphabetOracle.Load memory load = oracle.lastLoad();
        vm.assertEq(load.ident, ident);
        vm.assertEq(load.localContext.raw(), expectedContext.raw());
        vm.assertEq(load.word, word);
        vm.assertEq(load.size, size);
        vm.assertEq(load.partOffset, 8);
        vm.assertEq(load.key.raw(), key.raw());
    }

    function test_addLocalData_attackOnTheFirstLeaf() public {
        uint256 leaf = openLeaf([false, false, false]);
        uint256 execRoot = attack(leaf, lie(5));
        LocalContext expected = LocalContext.wrap(0x492c311d8c1527333c6744e6af547b25eb09083b4885988e95e9c319b075b497);
        checkLocalData(execRoot, StateRoot.wrap("S_0"), root(4), 1, expected);
        // Deeper claims belong to the same subgame.
        uint256 deeper = defend(attack(execRoot, lie(6)), lie(7));
        checkLocalData(deeper, StateRoot.wrap("S_0"), root(4), 1, expected);
    }

    function test_addLocalData_defenceOfTheFirstLeaf() public {
        uint256 leaf = openLeaf([false, false, false]);
        uint256 execRoot = defend(leaf, withStatus(lie(5), 0));
        LocalContext expected = LocalContext.wrap(0x48e0dbe32e0d7de25e79142391b4af56f91fc80e0040e6fe81adf5df9708a28a);
        checkLocalData(execRoot, root(4), root(3), 2, expected);
    }

    function test_addLocalData_attackOnTheLastLeaf() public {
        uint256 leaf = openLeaf([true, true, true]); // position 30
        LocalContext expected = LocalContext.wrap(keccak256(abi.encode(letter(3), uint256(14), letter(4), uint256(30))));
        checkLocalData(attack(leaf, lie(5)), root(3), root(4), 15, expected);
    }

    function test_addLocalData_defenceOfTheLastLeaf() public {
        uint256 leaf = openLeaf([true, true, true]);
        LocalContext expected = LocalContext.wrap(keccak256(abi.encode(letter(4), uint256(30), letter(0), uint256(1))));
        checkLocalData(defend(leaf, lie(5)), root(4), root(0), 16, expected);
    }

    /// @notice Leaves past the last node all speak about S_n.
    function test_addLocalData_nodeIndexEndsAtTheNodeCount() public {
        registry.setParameters(StateRoot.wrap("S_0"), 9, S, D);
        propose(letter(0));
        uint256 leaf = defend(defend(defend(attack(0, letter(1)), letter(2)), letter(3)), letter(4));
        checkLoad(
            4,
            attack(leaf, lie(5)),
            bytes32(bytes8(uint64(9))),
            8,
            LocalContext.wrap(keccak256(abi.encode(letter(3), uint256(14), letter(4), uint256(30))))
        );
    }

    function test_addLocalData_refusals() public {
        uint256 leaf = openLeaf([false, false, false]);
        uint256 execRoot = attack(leaf, lie(5));
        for (uint256 index = 0; index <= leaf; ++index) {
            vm.expectRevert(ClaimAboveSplit.selector);
            game.addLocalData(99, index, 0);
        }
        uint256[4] memory idents = [uint256(0), 1, 7, type(uint256).max];
        for (uint256 i = 0; i < idents.length; ++i) {
            vm.expectRevert(InvalidLocalIdent.selector);
            game.addLocalData(idents[i], execRoot, 0);
        }
        skip(CLOCK * 3);
        resolveAll();
        vm.expectRevert(GameNotInProgress.selector);
        game.addLocalData(99, 0, 0);
    }

    function test_localKey_vectors() public view {
        address at = 0xc0ffee254729296a45a3885639AC7E10F9d54979;
        LocalContext ctx = LocalContext.wrap(0x492c311d8c1527333c6744e6af547b25eb09083b4885988e95e9c319b075b497);
        vm.assertEq(
            oracle.localKey(at, 1, ctx).raw(), 0x01d44a7e9c0fda084d152888da1b827f99032dd4abb26e5ad19ef1b1a4ed304f
        );
        vm.assertEq(
            oracle.localKey(at, 4, ctx).raw(), 0x01f6ea35f4eec806a7fcbd2aa91eed98aa0bb98e4d6659ba55ec93c27d7e767f
        );
    }
}

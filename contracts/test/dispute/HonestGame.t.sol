// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {HonestPlayer} from "./helpers/HonestPlayer.sol";
import {AlphabetVm} from "./helpers/AlphabetVm.sol";
import {FaultDisputeGame} from "../../src/dispute/FaultDisputeGame.sol";
import {Position} from "../../src/dispute/Position.sol";
import {ClaimData} from "./helpers/ClaimData.sol";
import {GameStatus} from "../../src/dispute/Types.sol";
import {Claim, claimOf} from "../../src/dispute/Claim.sol";

/// @notice Whole games: whatever others do, the truth wins, honesty pays for itself, and every wei is accounted for.
contract HonestGameTest is HonestPlayer {
    address internal immutable LIAR = makeAddr("liar");

    function setUp() public override {
        super.setUp();
        vm.deal(LIAR, 1e9 ether);
    }

    // ---------------------------------------------------------------- what every finished game obeys

    function checkFinished() internal view {
        ClaimData[] memory all = readClaims();
        bool isTrue = all[0].claim == claimOf(alphabet.truth(NODES));
        vm.assertTrue(
            game.status() == (isTrue ? GameStatus.DEFENDER_WINS : GameStatus.CHALLENGER_WINS), "the truth wins"
        );
        uint256 bonds = 0;
        for (uint256 i = 0; i < all.length; ++i) {
            bonds += all[i].bond;
            if (all[i].claimant == HONEST) {
                vm.assertEq(all[i].counteredBy, address(0), "an honest claim fell, so honest play costs money");
            }
        }
        vm.assertGe(
            game.normalModeCredit(HONEST), game.refundModeCredit(HONEST), "an honest actor gets back what it paid"
        );
        address[4] memory players = [PROPOSER, HONEST, LIAR, address(this)];
        (uint256 awarded, uint256 paid) = (0, 0);
        for (uint256 i = 0; i < players.length; ++i) {
            awarded += game.normalModeCredit(players[i]);
            paid += game.refundModeCredit(players[i]);
        }
        vm.assertEq(awarded, bonds, "what is paid out was paid in");
        vm.assertEq(paid, bonds, "what was paid in is on record");
        vm.assertEq(address(game).balance, bonds, "the game has it until it is closed");
    }

    function payEverybody() internal {
        registry.setFinal(true);
        address[4] memory players = [PROPOSER, HONEST, LIAR, address(this)];
        for (uint256 i = 0; i < players.length; ++i) {
            game.claimCredit(players[i]);
        }
        skip(WETH_DELAY);
        for (uint256 i = 0; i < players.length; ++i) {
            uint256 owed = game.credit(players[i]);
            uint256 before = players[i].balance;
            if (owed == 0) continue;
            game.claimCredit(players[i]);
            vm.assertEq(players[i].balance, before + owed);
        }
        vm.assertEq(weth.balanceOf(address(game)), 0, "nothing is left");
    }

    receive() external payable {}

    // ---------------------------------------------------------------- told games

    /// @notice A liar whose story is consistent down to one instruction loses to the step that the chain executes.
    /// @dev The lie: node 5's trace, with another letter from step 3 on, which changes nothing that the program says; the
    ///      liar claims that it confirms a wrong root.
    function test_wholeGame_downToTheStep() public {
        propose(Claim.wrap(keccak256("a wrong S_12")));
        for (uint256 round = 0; round < 2 * D; ++round) {
            playHonestly();
            if (!liarAnswers()) break;
        }
        ClaimData[] memory all = readClaims();
        vm.assertEq(all[all.length - 1].position.depth(), D, "the liar went all the way down");
        vm.assertEq(all[all.length - 1].claimant, LIAR);
        vm.assertEq(all[all.length - 1].counteredBy, HONEST, "and fell by a step");
        skip(2 * CLOCK);
        resolveAll();
        checkFinished();
        payEverybody();
    }

    /// @dev The liar disputes every honest claim that it can, by its own story. False if it has nothing to say.
    function liarAnswers() internal returns (bool) {
        ClaimData[] memory all = readClaims();
        ClaimData memory last = all[all.length - 1];
        if (last.claimant != HONEST || last.position.depth() == D) return false;
        // It agrees up to S_5, and up to step 3 of node 5's trace.
        bool inTrace = last.position.depth() > S;
        uint256 reached = inTrace ? last.position.traceIndex(D) % LEAVES_PER_TRACE + 1 : last.position.traceIndex(S) + 1;
        bool agrees = reached <= (inTrace ? 3 : 5) && last.position.depth() != S + 1;
        Position at = last.position.move(!agrees);
        Claim claim = rightClaim(all, all.length - 1, at);
        if (at.depth() > S) {
            uint256 step = at.traceIndex(D) % LEAVES_PER_TRACE + 1;
            AlphabetVm.State memory state = stateAt(traceOf(all, all.length - 1, at), step);
            if (step > 3) state.letter ^= "flipped";
            if (at.depth() == S + 1) state.status = agrees == false ? 1 : 0;
            claim = Claim.wrap(alphabet.commitment(state).raw());
        } else if (at.traceIndex(S) + 1 > 5) {
            claim = Claim.wrap(claim.raw() ^ "flipped");
        }
        uint256 bond = bondOf(all.length - 1, !agrees);
        vm.prank(LIAR);
        try game.move{value: bond}(last.claim, all.length - 1, claim, !agrees) {
            return true;
        } catch {
            // An execution root must say what its mover means.
            Claim other = withStatus(claim, agrees ? 1 : 2);
            vm.prank(LIAR);
            game.move{value: bond}(last.claim, all.length - 1, other, !agrees);
            return true;
        }
    }

    /// @notice Without a dispute the proposer is paid back, and no account loses anything.
    function test_wholeGame_undisputed() public {
        propose(claimOf(alphabet.truth(NODES)));
        playHonestly();
        vm.assertEq(game.claimDataLen(), 1);
        skip(CLOCK);
        resolveAll();
        checkFinished();
        payEverybody();
    }

    // ---------------------------------------------------------------- random games

    /// @notice One honest actor against random moves, true and false, anywhere, at any time, and random steps.
    function testFuzz_honestNeverLoses(uint256 seed) public {
        propose(roll(seed, "root") % 2 == 0 ? claimOf(alphabet.truth(NODES)) : lie(0));
        for (uint256 i = 0; i < 24; ++i) {
            seed = uint256(keccak256(abi.encode(seed, i)));
            if (roll(seed, "wait") % 4 == 0) skip(roll(seed, "how long") % (CLOCK / 8));
            disturb(seed);
            if (roll(seed, "busy") % 4 != 0) playHonestly();
        }
        playHonestly();
        skip(2 * CLOCK);
        resolveAll();
        checkFinished();
        payEverybody();
    }

    function roll(uint256 seed, string memory what) internal pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, what)));
    }

    /// @dev One random move or step. What the game refuses is no disturbance.
    function disturb(uint256 seed) internal {
        ClaimData[] memory all = readClaims();
        // The newest claims more often than the old ones, so that games go deep.
        uint256 index = roll(seed, "new") % 2 == 0 ? all.length - 1 : roll(seed, "index") % all.length;
        bool isAttack = roll(seed, "attack") % 2 == 0;
        if (all[index].position.depth() == D) {
            uint256 steps = roll(seed, "steps") % LEAVES_PER_TRACE;
            bytes memory state = abi.encode(stateAt(traceOf(all, index, all[index].position), steps));
            game.addLocalData(2, index, 0);
            game.addLocalData(3, index, 0);
            vm.prank(LIAR);
            try game.step(index, isAttack, state, "") {} catch {}
            return;
        }
        if (index == 0) isAttack = true;
        Position at = all[index].position.move(isAttack);
        Claim claim = roll(seed, "truth") % 3 == 0 ? rightClaim(all, index, at) : lie(roll(seed, "lie") % 3);
        if (roll(seed, "valid") % 2 == 0) claim = withStatus(claim, uint8(roll(seed, "status") % 3));
        uint256 bond = bondOf(index, isAttack);
        vm.prank(LIAR);
        try game.move{value: bond}(all[index].claim, index, claim, isAttack) {} catch {}
    }
}

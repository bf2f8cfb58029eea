// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {OracleFixture} from "./helpers/OracleFixture.sol";
import {FaultDisputeGame} from "../../src/dispute/FaultDisputeGame.sol";
import {Position} from "../../src/dispute/Position.sol";
import {BondDistributionMode, GameStatus} from "../../src/dispute/Types.sol";
import {IDisputeGame} from "../../src/dispute/interfaces/IDisputeGame.sol";
import {InferenceOracle} from "../../src/oracle/InferenceOracle.sol";
import {IInferenceOracle} from "../../src/oracle/interfaces/IInferenceOracle.sol";
import {Claim} from "../../src/dispute/Claim.sol";
import {RequestId} from "../../src/dispute/RequestId.sol";
import {ArenaRoot} from "../../src/oracle/SectionRoot.sol";
import {Timestamp256} from "../../src/dispute/Time.sol";

/// @notice Which games count, what the guardian can do about it, and what a game records when it closes.
contract GameValidityTest is OracleFixture {
    bytes32 internal id;
    FaultDisputeGame internal game;

    function setUp() public override {
        super.setUp();
        id = RequestId.unwrap(ask(address(0), 0, 0));
        game = proposeTruth(RequestId.wrap(id));
    }

    // ---------------------------------------------------------------- predicates

    function test_predicates_overAGamesLife() public {
        vm.assertTrue(oracle.isGameRegistered(game));
        vm.assertTrue(oracle.isGameRespected(game));
        vm.assertFalse(oracle.isGameBlacklisted(game));
        vm.assertFalse(oracle.isGameRetired(game));
        vm.assertTrue(oracle.isGameProper(game));
        vm.assertFalse(oracle.isGameResolved(game));
        skip(CLOCK);
        vm.assertFalse(oracle.isGameFinalized(game));
        resolve(game);
        vm.assertTrue(oracle.isGameResolved(game));
        skip(FINALITY_DELAY);
        vm.assertFalse(oracle.isGameFinalized(game)); // strictly more
        vm.assertFalse(oracle.isGameClaimValid(game));
        skip(1);
        vm.assertTrue(oracle.isGameFinalized(game));
        vm.assertTrue(oracle.isGameClaimValid(game));
    }

    /// @notice A game is resolved that says both when and how: the game type may be another than ours.
    function test_predicates_ofAGameThatSaysHalf() public {
        vm.mockCall(address(game), abi.encodeCall(game.status, ()), abi.encode(GameStatus.DEFENDER_WINS));
        vm.assertFalse(oracle.isGameResolved(game));
        vm.mockCall(address(game), abi.encodeCall(game.status, ()), abi.encode(GameStatus.IN_PROGRESS));
        vm.mockCall(address(game), abi.encodeCall(game.resolvedAt, ()), abi.encode(block.timestamp));
        vm.assertFalse(oracle.isGameResolved(game));
    }

    function test_predicates_ofALostGame() public {
        uint256 bond = game.getRequiredBond(Position.wrap(2));
        Claim root = game.rootClaim();
        game.attack{value: bond}(root, 0, Claim.wrap("no"));
        survive(game);
        vm.assertTrue(oracle.isGameProper(game)); // says nothing about the claim
        vm.assertTrue(oracle.isGameFinalized(game));
        vm.assertFalse(oracle.isGameClaimValid(game));
    }

    function test_predicates_ofAnImpostor() public {
        address impostor = address(0x1234);
        vm.etch(impostor, address(game).code);
        vm.assertFalse(oracle.isGameRegistered(IDisputeGame(impostor)));
        vm.assertFalse(oracle.isGameProper(IDisputeGame(impostor)));
    }

    function test_retired_sameBlockIncluded() public {
        InferenceOracle second = newOracle();
        vm.assertEq(second.retirementTimestamp().raw(), block.timestamp);
        vm.assertTrue(second.isGameRetired(game)); // made in the same block
        skip(1);
        FaultDisputeGame later = propose(RequestId.wrap(id), Claim.wrap("later"));
        vm.assertFalse(second.isGameRetired(later));
    }

    // ---------------------------------------------------------------- guardian

    function test_guardianOnly() public {
        bytes4 unauthorized = IInferenceOracle.AnchorStateRegistry_Unauthorized.selector;
        vm.expectRevert(unauthorized);
        oracle.setRespectedGameType(1);
        vm.expectRevert(unauthorized);
        oracle.setGuardian(address(this));
        vm.expectRevert(unauthorized);
        oracle.transferOwnership(address(this));
        vm.expectRevert(unauthorized);
        oracle.blacklistDisputeGame(game);
        vm.expectRevert(unauthorized);
        oracle.updateRetirementTimestamp();
        vm.expectRevert(unauthorized);
        oracle.setPaused(true);
    }

    /// @notice The owner does nothing that the guardian does, and the other way round.
    function test_rolesAreApart() public {
        bytes4 unauthorized = IInferenceOracle.AnchorStateRegistry_Unauthorized.selector;
        vm.assertEq(oracle.owner(), OWNER);
        vm.assertEq(oracle.guardian(), GUARDIAN);
        vm.startPrank(OWNER);
        vm.expectRevert(unauthorized);
        oracle.blacklistDisputeGame(game);
        vm.expectRevert(unauthorized);
        oracle.updateRetirementTimestamp();
        vm.expectRevert(unauthorized);
        oracle.setPaused(true);
        vm.stopPrank();
        vm.startPrank(GUARDIAN);
        vm.expectRevert(unauthorized);
        oracle.setRespectedGameType(1);
        vm.expectRevert(unauthorized);
        oracle.setGuardian(address(this));
        vm.expectRevert(unauthorized);
        oracle.transferOwnership(address(this));
        vm.stopPrank();
    }

    function test_setGuardian_takesTheOldOnesPowersAway() public {
        vm.prank(OWNER);
        vm.expectEmit(address(oracle));
        emit IInferenceOracle.GuardianSet(PROPOSER);
        oracle.setGuardian(PROPOSER);
        vm.prank(GUARDIAN);
        vm.expectRevert(IInferenceOracle.AnchorStateRegistry_Unauthorized.selector);
        oracle.setPaused(true);
        vm.prank(PROPOSER);
        oracle.setPaused(true);
        vm.assertTrue(oracle.paused());
    }

    /// @dev After `act`, the game does not count, and its bonds go back to who paid them.
    function expectDiscarded() internal {
        vm.assertFalse(oracle.isGameProper(game));
        vm.assertFalse(oracle.isGameClaimValid(game));
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.GameNotValid.selector, game));
        oracle.finalize(RequestId.wrap(id), game, output, ArenaRoot.wrap(ARENA));
        game.closeGame();
        vm.assertTrue(game.bondDistributionMode() == BondDistributionMode.REFUND);
        vm.assertEq(address(oracle.anchorGameOf(RequestId.wrap(id))), address(0));
    }

    function test_blacklist() public {
        survive(game);
        vm.prank(GUARDIAN);
        vm.expectEmit(address(oracle));
        emit IInferenceOracle.DisputeGameBlacklisted(game);
        oracle.blacklistDisputeGame(game);
        vm.assertTrue(oracle.isGameBlacklisted(game));
        vm.assertTrue(oracle.disputeGameBlacklist(game));
        expectDiscarded();
    }

    function test_retire() public {
        survive(game);
        vm.prank(GUARDIAN);
        vm.expectEmit(address(oracle));
        emit IInferenceOracle.RetirementTimestampSet(Timestamp256.wrap(block.timestamp));
        oracle.updateRetirementTimestamp();
        expectDiscarded();
    }

    /// @notice A pause delays; it discards nothing.
    function test_pause() public {
        survive(game);
        vm.prank(GUARDIAN);
        vm.expectEmit(address(oracle));
        emit IInferenceOracle.PausedSet(true);
        oracle.setPaused(true);
        vm.assertFalse(oracle.isGameProper(game));
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.GameNotValid.selector, game));
        oracle.finalize(RequestId.wrap(id), game, output, ArenaRoot.wrap(ARENA));
        vm.expectRevert(); // GamePaused
        game.closeGame();
        vm.prank(GUARDIAN);
        oracle.setPaused(false);
        oracle.finalize(RequestId.wrap(id), game, output, ArenaRoot.wrap(ARENA));
        game.closeGame();
        vm.assertTrue(game.bondDistributionMode() == BondDistributionMode.NORMAL);
    }

    /// @notice The first pause has to wait for nothing, however young the chain is.
    function test_pause_first() public {
        vm.warp(1);
        vm.prank(GUARDIAN);
        oracle.setPaused(true);
        vm.assertTrue(oracle.paused());
    }

    /// @notice A pause ends by itself, is not made longer, and is not followed by another at once.
    function test_pause_endsByItself() public {
        vm.assertEq(oracle.pauseDuration().raw(), PAUSE_DURATION);
        vm.assertEq(oracle.pausedUntil().raw(), 0);
        survive(game);
        vm.startPrank(GUARDIAN);
        oracle.setPaused(true);
        uint256 end = block.timestamp + PAUSE_DURATION;
        vm.assertEq(oracle.pausedUntil().raw(), end);
        skip(PAUSE_DURATION - 1);
        vm.assertTrue(oracle.paused());
        expectTooEarly(end + PAUSE_DURATION);
        skip(1);
        vm.assertFalse(oracle.paused());
        oracle.finalize(RequestId.wrap(id), game, output, ArenaRoot.wrap(ARENA));
        expectTooEarly(end + PAUSE_DURATION);
        skip(PAUSE_DURATION - 1);
        expectTooEarly(end + PAUSE_DURATION);
        skip(1);
        oracle.setPaused(true);
        vm.assertTrue(oracle.paused());
        vm.stopPrank();
    }

    /// @notice The time between two pauses starts where the first was ended.
    function test_pause_endedEarly() public {
        vm.startPrank(GUARDIAN);
        oracle.setPaused(false); // nothing to end
        vm.assertEq(oracle.pausedUntil().raw(), 0);
        oracle.setPaused(true);
        skip(100);
        oracle.setPaused(false);
        vm.assertFalse(oracle.paused());
        vm.assertEq(oracle.pausedUntil().raw(), block.timestamp);
        uint256 earliest = block.timestamp + PAUSE_DURATION;
        skip(1);
        oracle.setPaused(false);
        vm.assertEq(oracle.pausedUntil().raw(), block.timestamp - 1);
        expectTooEarly(earliest);
        skip(PAUSE_DURATION - 1);
        oracle.setPaused(true);
        vm.stopPrank();
    }

    function expectTooEarly(uint256 earliest) internal {
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.PauseTooEarly.selector, block.timestamp, earliest));
        oracle.setPaused(true);
    }

    /// @notice Of any year, a guardian that pauses whenever it may leaves at least half for payments.
    function testFuzz_pause_leavesHalfOfTheTime(uint256 seed) public {
        uint256 start = block.timestamp;
        uint256 stopped = 0;
        vm.startPrank(GUARDIAN);
        for (uint256 i = 0; i < 100; ++i) {
            bool act = uint256(keccak256(abi.encode(seed, i))) % 5 == 0;
            try oracle.setPaused(!act) {} catch {}
            uint256 wait = 1 + uint256(keccak256(abi.encode(i, seed))) % (PAUSE_DURATION / 2);
            uint256 until = oracle.pausedUntil().raw();
            if (until > block.timestamp) stopped += until - block.timestamp < wait ? until - block.timestamp : wait;
            skip(wait);
        }
        vm.stopPrank();
        vm.assertLe(stopped, (block.timestamp - start) / 2 + PAUSE_DURATION);
    }

    /// @notice A type that did not count when a game was made: its bonds are paid as usual, but it delivers nothing.
    function test_respectedGameType() public {
        vm.prank(OWNER);
        vm.expectEmit(address(oracle));
        emit IInferenceOracle.RespectedGameTypeSet(1);
        oracle.setRespectedGameType(1);
        RequestId second = ask(address(0), 0, 0);
        FaultDisputeGame late = proposeTruth(second);
        survive(late);
        vm.assertTrue(oracle.isGameRespected(game)); // it counted when it was made
        vm.assertFalse(oracle.isGameRespected(late));
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.GameNotValid.selector, late));
        oracle.finalize(second, late, output, ArenaRoot.wrap(ARENA));
        late.closeGame();
        vm.assertTrue(late.bondDistributionMode() == BondDistributionMode.NORMAL);
        vm.assertEq(address(oracle.anchorGameOf(second)), address(0));
    }

    // ---------------------------------------------------------------- survivors on record

    function test_anchor_isTheFirstThatClosed() public {
        FaultDisputeGame second = propose(RequestId.wrap(id), Claim.wrap("another"));
        skip(CLOCK);
        resolve(game);
        resolve(second);
        skip(FINALITY_DELAY + 1);
        (Claim root, uint256 number) = oracle.getAnchorRoot();
        vm.assertEq(Claim.unwrap(root), 0);
        vm.assertEq(number, 0);
        vm.expectEmit(address(oracle));
        emit IInferenceOracle.AnchorUpdated(second);
        second.closeGame();
        game.closeGame();
        vm.assertEq(address(oracle.anchorGameOf(RequestId.wrap(id))), address(second));
        vm.assertEq(address(oracle.anchorGame()), address(second));
        (root, number) = oracle.getAnchorRoot();
        vm.assertEq(Claim.unwrap(root), Claim.unwrap(second.rootClaim()));
        vm.assertEq(number, second.l2SequenceNumber());
        vm.expectRevert(IInferenceOracle.AnchorStateRegistry_InvalidAnchorGame.selector);
        oracle.setAnchorState(game);
        // Which of them delivers is another question.
        oracle.finalize(RequestId.wrap(id), game, output, ArenaRoot.wrap(ARENA));
    }

    function test_anchor_onlySurvivors() public {
        vm.expectRevert(IInferenceOracle.AnchorStateRegistry_InvalidAnchorGame.selector);
        oracle.setAnchorState(game);
        survive(game);
        oracle.setAnchorState(game); // anyone may
        vm.assertEq(address(oracle.anchorGameOf(RequestId.wrap(id))), address(game));
    }

    /// @notice With too little gas for the record, a game does not close at all: every amount of gas around the limit.
    function test_close_cannotStarveTheRecord() public {
        survive(game);
        (uint256 closed, uint256 refused) = (0, 0);
        for (uint256 gas = 60_000; gas < 180_000; gas += 250) {
            uint256 before = vm.snapshotState();
            try game.closeGame{gas: gas}() {
                ++closed;
                vm.assertEq(address(oracle.anchorGameOf(RequestId.wrap(id))), address(game));
            } catch {
                ++refused;
            }
            vm.revertToState(before);
        }
        // Both sides of the limit were seen.
        vm.assertGt(closed, 0);
        vm.assertGt(refused, 0);
    }
}

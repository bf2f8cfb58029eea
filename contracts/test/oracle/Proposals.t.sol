// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {OracleFixture} from "./helpers/OracleFixture.sol";
import {BURN_ADDRESS} from "../../src/dispute/Bond.sol";
import {ClaimAlreadyExists, GameAlreadyExists} from "../../src/dispute/Errors.sol";
import {FaultDisputeGame} from "../../src/dispute/FaultDisputeGame.sol";
import {Position} from "../../src/dispute/Position.sol";
import {GameStatus} from "../../src/dispute/Types.sol";
import {IDisputeGame} from "../../src/dispute/interfaces/IDisputeGame.sol";
import {IInferenceOracle} from "../../src/oracle/interfaces/IInferenceOracle.sol";
import {Claim, claimOf} from "../../src/dispute/Claim.sol";
import {RequestId} from "../../src/dispute/RequestId.sol";
import {ArenaRoot} from "../../src/oracle/SectionRoot.sol";

/// @notice A right answer can always be proposed again, lying costs something, and the fee is the first proposer's.
contract ProposalsTest is OracleFixture {
    address internal immutable LIAR = makeAddr("liar");
    address internal immutable ACCOMPLICE = makeAddr("accomplice");
    uint256 internal constant FEE = 1; // nothing is too little to be paid

    RequestId internal id;
    Claim internal right;

    function setUp() public override {
        super.setUp();
        vm.deal(LIAR, 1000 ether);
        vm.deal(ACCOMPLICE, 1000 ether);
        id = ask(address(0), 0, FEE);
        right = claimOf(oracle.finalRoot(id, output, ArenaRoot.wrap(ARENA)));
    }

    function create(address who, Claim root, bytes32 nonce) internal returns (FaultDisputeGame) {
        bytes memory extraData = nonce == 0 ? abi.encode(id) : abi.encode(id, nonce);
        vm.prank(who);
        return FaultDisputeGame(payable(address(factory.create{value: INIT_BOND}(CANNON, root, extraData))));
    }

    function commit(address who, Claim root, bytes32 nonce) internal {
        bytes32 commitment = oracle.commitmentOf(id, root, nonce, who);
        vm.prank(who);
        oracle.commit(commitment);
    }

    function attackRoot(address who, FaultDisputeGame game, Claim claim) internal returns (uint256 bond) {
        Claim disputed = game.rootClaim();
        bond = game.getRequiredBond(Position.wrap(2));
        vm.prank(who);
        game.attack{value: bond}(disputed, 0, claim);
    }

    /// @notice A game that its creator lets fall.
    function lose(address who, Claim root, bytes32 nonce) internal returns (FaultDisputeGame game) {
        game = create(who, root, nonce);
        attackRoot(ACCOMPLICE, game, Claim.wrap("nonsense"));
        skip(CLOCK);
        resolve(game);
        vm.assertEq(uint256(game.status()), uint256(GameStatus.CHALLENGER_WINS));
    }

    function deliver(FaultDisputeGame game) internal {
        oracle.finalize(id, game, output, ArenaRoot.wrap(ARENA));
    }

    // ---------------------------------------------------------------- again

    /// @notice An attacker that lets the right answer fall delays it and loses bonds; the next proposal delivers.
    function test_aRightAnswerThatLostIsProposedAgain() public {
        lose(LIAR, right, 0);
        bytes32 uuid = factory.getGameUUID(CANNON, right, abi.encode(id));
        vm.expectRevert(abi.encodeWithSelector(GameAlreadyExists.selector, uuid));
        create(PROPOSER, right, 0);
        lose(LIAR, right, bytes32(uint256(1)));
        FaultDisputeGame game = create(PROPOSER, right, bytes32(uint256(2)));
        survive(game);
        uint256 before = PROPOSER.balance;
        deliver(game);
        vm.assertEq(PROPOSER.balance - before, FEE);
        (IDisputeGame[] memory games,) = oracle.gamesOf(id, 0, 100);
        vm.assertEq(games.length, 3);
    }

    function test_aRetiredAnswerIsProposedAgain() public {
        FaultDisputeGame game = create(PROPOSER, right, 0);
        vm.prank(GUARDIAN);
        oracle.updateRetirementTimestamp();
        skip(1);
        FaultDisputeGame again = create(PROPOSER, right, bytes32(uint256(1)));
        survive(again);
        resolve(game);
        skip(FINALITY_DELAY + 1);
        vm.assertFalse(oracle.isGameClaimValid(game));
        deliver(again);
    }

    function test_aBlacklistedAnswerIsProposedAgain() public {
        FaultDisputeGame game = create(PROPOSER, right, 0);
        vm.prank(GUARDIAN);
        oracle.blacklistDisputeGame(game);
        FaultDisputeGame again = create(PROPOSER, right, bytes32(uint256(1)));
        survive(again);
        deliver(again);
    }

    // ---------------------------------------------------------------- lying costs

    /// @notice A liar that makes the honest challenger's move itself loses the forfeited part of its root claim's bond.
    function test_aLiarThatCountersItselfLosesThePartThatIsForfeited() public {
        FaultDisputeGame game = create(LIAR, Claim.wrap(keccak256("a lie")), 0);
        uint256 bond = attackRoot(ACCOMPLICE, game, Claim.wrap("the right S_8"));
        Claim disputed = game.rootClaim();
        vm.prank(CHALLENGER);
        vm.expectRevert(ClaimAlreadyExists.selector);
        game.attack{value: bond}(disputed, 0, Claim.wrap("the right S_8"));
        skip(CLOCK);
        resolve(game);
        uint256 forfeited = INIT_BOND * FORFEITED_BPS / 10_000;
        vm.assertEq(game.normalModeCredit(LIAR), 0);
        vm.assertEq(game.normalModeCredit(ACCOMPLICE), bond + INIT_BOND - forfeited);
        vm.assertEq(game.normalModeCredit(BURN_ADDRESS), forfeited);
    }

    /// @notice What is forfeited is paid like a credit, by anyone; at the burn address it is lost.
    function test_whatIsForfeitedIsPaidOut() public {
        FaultDisputeGame game = lose(LIAR, Claim.wrap(keccak256("a lie")), 0);
        skip(FINALITY_DELAY + 1);
        game.claimCredit(BURN_ADDRESS);
        skip(WETH_DELAY);
        game.claimCredit(BURN_ADDRESS);
        vm.assertEq(BURN_ADDRESS.balance, INIT_BOND * FORFEITED_BPS / 10_000);
    }

    // ---------------------------------------------------------------- the fee

    function paidTo(address who, FaultDisputeGame delivering) internal returns (uint256) {
        uint256 before = who.balance;
        deliver(delivering);
        return who.balance - before;
    }

    /// @notice A copied `create` comes first, and even delivers; the fee is the committed proposer's.
    function test_aCopyOfACommittedProposalGetsNoFee() public {
        commit(PROPOSER, right, "salt");
        vm.roll(block.number + 1);
        FaultDisputeGame copy = create(LIAR, right, "other");
        FaultDisputeGame original = create(PROPOSER, right, "salt");
        (IDisputeGame first, uint64 since) = oracle.firstProposal(id, right);
        vm.assertEq(address(first), address(original));
        vm.assertEq(since, block.number - 1);
        survive(copy);
        vm.assertEq(paidTo(PROPOSER, copy), FEE);
    }

    /// @notice The nonce, the root claim and the proposer are what is committed to; others cannot use it.
    function test_aCommitmentIsItsProposersOwn() public {
        commit(PROPOSER, right, "salt");
        vm.roll(block.number + 1);
        FaultDisputeGame copy = create(LIAR, right, "salt"); // the very same call
        (IDisputeGame first, uint64 since) = oracle.firstProposal(id, right);
        vm.assertEq(address(first), address(copy));
        vm.assertEq(since, block.number); // not since the commitment
        FaultDisputeGame original = create(PROPOSER, right, "salt2"); // for its own place is taken
        vm.roll(block.number + 1);
        survive(original);
        vm.assertEq(paidTo(LIAR, original), FEE);
    }

    /// @dev A nonce whose first byte counts attempts.
    function attempt(uint256 number, bytes31 salt) internal pure returns (bytes32) {
        return bytes32(number << 248) | bytes32(salt) >> 8;
    }

    /// @notice A copier of the very call is first, but the proposer makes its game with the commitment's next nonce.
    function testFuzz_aProposerWhoseCallIsCopiedAgainAndAgainGetsTheFee(bytes31 salt, uint256 copies) public {
        copies = bound(copies, 1, 6);
        commit(PROPOSER, right, attempt(0, salt));
        vm.roll(block.number + 1);
        for (uint256 i = 0; i < copies; ++i) {
            create(LIAR, right, attempt(i, salt));
        }
        FaultDisputeGame original = create(PROPOSER, right, attempt(copies, salt));
        survive(original);
        vm.assertEq(paidTo(PROPOSER, original), FEE);
    }

    /// @notice A commitment is for the nonces that differ in their first byte alone, for one answer and one proposer.
    function testFuzz_commitmentOf_looksAtAllButTheFirstByte(bytes32 one, bytes32 other, bool near) public view {
        if (near) other = bytes32(uint256(one) ^ (uint256(other) & 0x1ff) << 247); // one bit more than the byte
        bool isSame = oracle.commitmentOf(id, right, one, PROPOSER) == oracle.commitmentOf(id, right, other, PROPOSER);
        vm.assertEq(isSame, one << 8 == other << 8);
        vm.assertTrue(oracle.commitmentOf(id, right, one, PROPOSER) != oracle.commitmentOf(id, right, one, LIAR));
    }

    function test_withoutCommitmentsTheFirstGameCounts() public {
        FaultDisputeGame first = create(PROPOSER, right, 0);
        vm.roll(block.number + 1);
        FaultDisputeGame second = create(LIAR, right, "later");
        survive(first);
        resolve(second);
        skip(FINALITY_DELAY + 1);
        vm.assertEq(paidTo(PROPOSER, second), FEE);
    }

    function test_aLaterCommitmentComesLater() public {
        FaultDisputeGame first = create(PROPOSER, right, 0);
        vm.roll(block.number + 1);
        commit(LIAR, right, "later");
        vm.roll(block.number + 1);
        FaultDisputeGame second = create(LIAR, right, "later");
        survive(second);
        vm.assertEq(paidTo(PROPOSER, second), FEE);
        vm.assertEq(uint256(first.status()), uint256(GameStatus.IN_PROGRESS));
    }

    function test_aCommitmentRunsOut() public {
        uint256 committed = 1_000_000;
        vm.roll(committed);
        commit(LIAR, right, "guess");
        vm.roll(committed + 256);
        commit(LIAR, right, "guess"); // changes nothing
        vm.assertEq(oracle.committedAt(oracle.commitmentOf(id, right, "guess", LIAR)), committed);
        vm.roll(committed + 256 + 1);
        create(PROPOSER, right, 0);
        FaultDisputeGame late = create(LIAR, right, "guess");
        (, uint64 since) = oracle.firstProposal(id, right);
        vm.assertEq(since, block.number);
        survive(late);
        vm.assertEq(paidTo(PROPOSER, late), FEE);
        commit(LIAR, right, "guess");
        vm.assertEq(oracle.committedAt(oracle.commitmentOf(id, right, "guess", LIAR)), block.number);
    }

    function test_aCommitmentHoldsToItsLastBlock() public {
        commit(PROPOSER, right, "salt");
        vm.roll(block.number + 256);
        create(LIAR, right, 0);
        FaultDisputeGame original = create(PROPOSER, right, "salt");
        survive(original);
        vm.assertEq(paidTo(PROPOSER, original), FEE);
    }

    /// @notice A first proposal that lost, or was discarded, has no right to the fee.
    function test_aLostFirstProposalGetsNoFee() public {
        lose(LIAR, right, 0);
        FaultDisputeGame second = create(PROPOSER, right, "again");
        (IDisputeGame first,) = oracle.firstProposal(id, right);
        vm.assertEq(address(first), address(second));
        survive(second);
        vm.assertEq(paidTo(PROPOSER, second), FEE);
    }

    /// @notice Nor if it loses after the second was made.
    function test_aFirstProposalThatLosesLaterGetsNoFee() public {
        FaultDisputeGame first = create(LIAR, right, 0);
        FaultDisputeGame second = create(PROPOSER, right, "again");
        attackRoot(ACCOMPLICE, first, Claim.wrap("nonsense"));
        skip(CLOCK);
        resolve(first);
        resolve(second);
        skip(FINALITY_DELAY + 1);
        vm.assertEq(paidTo(PROPOSER, second), FEE);
    }

    function test_aDiscardedFirstProposalGetsNoFee() public {
        FaultDisputeGame first = create(LIAR, right, 0);
        FaultDisputeGame second = create(PROPOSER, right, "again");
        vm.prank(GUARDIAN);
        oracle.blacklistDisputeGame(first);
        survive(second);
        vm.assertEq(paidTo(PROPOSER, second), FEE);
    }

    /// @notice Where the recorded game has fallen, a game that is made at the moment of the delivery does not come before the
    ///         one that delivers.
    function test_aGameMadeAtTheDeliveryTakesNoFee() public {
        FaultDisputeGame first = create(LIAR, right, 0);
        vm.roll(block.number + 1);
        FaultDisputeGame honest = create(PROPOSER, right, "honest");
        attackRoot(ACCOMPLICE, first, Claim.wrap("nonsense"));
        skip(CLOCK);
        resolve(first);
        resolve(honest);
        skip(FINALITY_DELAY + 1);
        vm.roll(block.number + 1);
        FaultDisputeGame late = create(ACCOMPLICE, right, "late");
        (IDisputeGame recorded,) = oracle.firstProposal(id, right);
        vm.assertEq(address(recorded), address(late));
        vm.assertEq(paidTo(PROPOSER, honest), FEE);
    }

    /// @notice A game that was passed over takes its place back when what came before it has fallen.
    function test_aProposalThatWasPassedOverIsRestored() public {
        FaultDisputeGame first = create(LIAR, right, 0);
        vm.roll(block.number + 1);
        uint256 made = block.number;
        FaultDisputeGame honest = create(PROPOSER, right, "honest");
        vm.assertEq(oracle.passedOver(honest), made);
        vm.assertFalse(oracle.mayBeRestored(honest));
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.NotRestorable.selector, honest));
        oracle.restoreProposal(honest);
        attackRoot(ACCOMPLICE, first, Claim.wrap("nonsense"));
        skip(CLOCK);
        resolve(first);
        vm.roll(block.number + 1);
        FaultDisputeGame late = create(ACCOMPLICE, right, "late");
        vm.assertTrue(oracle.mayBeRestored(honest));
        vm.expectEmit(address(oracle));
        emit IInferenceOracle.ProposalRecorded(id, right, honest, uint64(made));
        oracle.restoreProposal(honest);
        // The later one, whatever its creator tries, comes after it, and delivers for it.
        vm.assertEq(oracle.passedOver(late), made + 1);
        vm.assertFalse(oracle.mayBeRestored(late));
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.NotRestorable.selector, late));
        oracle.restoreProposal(late);
        survive(late);
        vm.assertEq(paidTo(PROPOSER, late), FEE);
    }

    /// @notice Neither an unrelated contract nor a game that fell is restored.
    function test_restoreProposal_refusesOthers() public {
        IDisputeGame stranger = IDisputeGame(address(this));
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.NotRestorable.selector, stranger));
        oracle.restoreProposal(stranger);
        FaultDisputeGame first = create(PROPOSER, right, 0);
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.NotRestorable.selector, first));
        oracle.restoreProposal(first); // it is recorded: there is nothing to restore
        vm.roll(block.number + 1);
        FaultDisputeGame second = lose(LIAR, right, "second");
        vm.prank(GUARDIAN);
        oracle.blacklistDisputeGame(first);
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.NotRestorable.selector, second));
        oracle.restoreProposal(second);
    }

    /// @notice The recorded game is discarded after others were passed over.
    function discardFirst() internal returns (FaultDisputeGame honest, FaultDisputeGame later) {
        FaultDisputeGame first = create(LIAR, right, 0);
        vm.roll(block.number + 1);
        honest = create(PROPOSER, right, "honest");
        vm.roll(block.number + 1);
        later = create(ACCOMPLICE, right, "later");
        vm.prank(GUARDIAN);
        oracle.blacklistDisputeGame(first);
    }

    function refuseRestoring(IDisputeGame game) internal {
        vm.assertFalse(oracle.mayBeRestored(game));
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.NotRestorable.selector, game));
        oracle.restoreProposal(game);
    }

    /// @notice Whichever is restored first, the earliest comes to stand there, and each is restored once.
    function test_restoreProposal_inAnyOrderLeavesTheEarliest() public {
        (FaultDisputeGame honest, FaultDisputeGame later) = discardFirst();
        oracle.restoreProposal(later);
        refuseRestoring(later);
        oracle.restoreProposal(honest);
        refuseRestoring(honest);
        refuseRestoring(later);
        (IDisputeGame recorded, uint64 since) = oracle.firstProposal(id, right);
        vm.assertEq(address(recorded), address(honest));
        vm.assertEq(since, oracle.passedOver(honest));
    }

    /// @notice Of two that count from the same block, the recorded one stays.
    function test_restoreProposal_refusesOneOfTheSameBlock() public {
        FaultDisputeGame first = create(LIAR, right, 0);
        vm.roll(block.number + 1);
        FaultDisputeGame honest = create(PROPOSER, right, "honest");
        commit(ACCOMPLICE, right, "later");
        vm.roll(block.number + 1);
        vm.prank(GUARDIAN);
        oracle.blacklistDisputeGame(first);
        vm.assertTrue(oracle.mayBeRestored(honest));
        FaultDisputeGame later = create(ACCOMPLICE, right, "later");
        (IDisputeGame recorded, uint64 since) = oracle.firstProposal(id, right);
        vm.assertEq(address(recorded), address(later));
        vm.assertEq(since, oracle.passedOver(honest));
        refuseRestoring(honest);
    }

    /// @notice What is discarded is not restored, nor is another in the place of one that stands.
    function test_restoreProposal_refusesDiscardedOnes() public {
        (FaultDisputeGame honest, FaultDisputeGame later) = discardFirst();
        uint256 before = vm.snapshotState();
        vm.prank(GUARDIAN);
        oracle.blacklistDisputeGame(honest);
        refuseRestoring(honest);
        oracle.restoreProposal(later);
        vm.revertToState(before);
        vm.prank(GUARDIAN);
        oracle.updateRetirementTimestamp();
        refuseRestoring(honest);
        refuseRestoring(later);
    }

    /// @notice Where there is no fee any more, a proposer would pay for a place that is worth nothing.
    function test_restoreProposal_endsWithTheFee() public {
        (FaultDisputeGame honest, FaultDisputeGame later) = discardFirst();
        vm.assertTrue(oracle.mayBeRestored(honest));
        survive(honest);
        uint256 before = vm.snapshotState();
        vm.assertEq(paidTo(PROPOSER, honest), FEE);
        refuseRestoring(honest);
        refuseRestoring(later);
        vm.revertToState(before);
        skip(RECLAIM_DELAY);
        vm.prank(REQUESTER);
        oracle.reclaimFee(id);
        refuseRestoring(honest);
    }

    /// @notice A delivery is paid by what is recorded then: a place that was not taken back before is lost to one who
    ///         delivers with a later game.
    function test_restoreProposal_mustComeBeforeTheDelivery() public {
        (FaultDisputeGame honest, FaultDisputeGame later) = discardFirst();
        survive(later);
        uint256 before = vm.snapshotState();
        vm.assertEq(paidTo(ACCOMPLICE, later), FEE);
        vm.revertToState(before);
        oracle.restoreProposal(honest);
        vm.assertEq(paidTo(PROPOSER, later), FEE);
    }

    function test_proposal_isLogged() public {
        commit(PROPOSER, right, "salt");
        uint256 before = vm.snapshotState();
        FaultDisputeGame game = create(PROPOSER, right, "salt");
        vm.revertToState(before);
        vm.expectEmit(address(oracle));
        emit IInferenceOracle.ProposalRecorded(id, right, game, uint64(block.number));
        create(PROPOSER, right, "salt");
        vm.expectEmit(address(oracle));
        emit IInferenceOracle.ProposalCommitted("anything");
        oracle.commit("anything");
    }

    /// @notice Only games of the factory are recorded, and only where there is a fee to pay.
    function test_recordProposal_refusesStrangers() public {
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.NotAGame.selector, address(this)));
        oracle.recordProposal(CANNON, right, abi.encode(id), address(this));
        oracle.recordProposal(1, right, abi.encode(id), address(this)); // not the type that counts
        RequestId free = ask(address(0), 0, 0);
        oracle.recordProposal(CANNON, right, abi.encode(free), address(this));
        (IDisputeGame first,) = oracle.firstProposal(free, right);
        vm.assertEq(address(first), address(0));
        (first,) = oracle.firstProposal(id, right);
        vm.assertEq(address(first), address(0));
    }
}

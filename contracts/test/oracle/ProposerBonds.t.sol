// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {OracleFixture} from "./helpers/OracleFixture.sol";
import {GreedyProposer, ProudProposer} from "./helpers/Consumers.sol";
import {ALL_BPS, BURN_ADDRESS} from "../../src/dispute/Bond.sol";
import {Claim, claimOf} from "../../src/dispute/Claim.sol";
import {GameNotFinalized, GameNotResolved} from "../../src/dispute/Errors.sol";
import {FaultDisputeGame} from "../../src/dispute/FaultDisputeGame.sol";
import {Position} from "../../src/dispute/Position.sol";
import {RequestId} from "../../src/dispute/RequestId.sol";
import {IFaultDisputeGame} from "../../src/dispute/interfaces/IFaultDisputeGame.sol";
import {ArenaRoot} from "../../src/oracle/SectionRoot.sol";
import {IInferenceOracle, RequestTerms} from "../../src/oracle/interfaces/IInferenceOracle.sol";
import {IProposerBonds} from "../../src/oracle/interfaces/IProposerBonds.sol";

/// @notice What a request demands of its proposers is locked: from the first moment of each proposal, and until its game pays out.
contract ProposerBondsTest is OracleFixture {
    uint96 internal constant BOND = 50 ether;

    IProposerBonds internal bonds;
    RequestId internal id;
    Claim internal right;

    function setUp() public override {
        super.setUp();
        bonds = oracle.proposerBonds();
        id = askFor(BOND, 1 ether);
        right = claimOf(oracle.finalRoot(id, output, ArenaRoot.wrap(ARENA)));
    }

    function askFor(uint96 minBond, uint256 fee) internal returns (RequestId) {
        vm.prank(REQUESTER);
        return oracle.request{value: fee}(modelId, input, RequestTerms(address(0), 0, false, minBond, 0));
    }

    function deposit(address who, uint256 amount) internal {
        vm.deal(who, who.balance + amount);
        vm.prank(who);
        bonds.deposit{value: amount}();
    }

    function create(address who, RequestId about, Claim root, uint256 nonce) internal returns (FaultDisputeGame) {
        bytes memory extraData = nonce == 0 ? abi.encode(about) : abi.encode(about, nonce);
        vm.prank(who);
        return FaultDisputeGame(payable(address(factory.create{value: INIT_BOND}(CANNON, root, extraData))));
    }

    function attack(address who, FaultDisputeGame game, Claim claim) internal {
        uint256 bond = game.getRequiredBond(Position.wrap(2));
        Claim root = game.rootClaim();
        vm.prank(who);
        game.attack{value: bond}(root, 0, claim);
    }

    function expectShort(address who, uint256 found, uint256 needed) internal {
        vm.expectRevert(abi.encodeWithSelector(IProposerBonds.DepositShort.selector, who, found, needed));
    }

    // ---------------------------------------------------------------- before the game

    function test_withoutTheDepositThereIsNoGame() public {
        expectShort(PROPOSER, 0, BOND);
        create(PROPOSER, id, right, 0);
        deposit(PROPOSER, BOND - 1);
        expectShort(PROPOSER, BOND - 1, BOND);
        create(PROPOSER, id, right, 0);
        deposit(PROPOSER, 1);
        FaultDisputeGame game = create(PROPOSER, id, right, 0);
        vm.assertEq(bonds.bondOf(game), BOND);
        vm.assertEq(bonds.depositOf(PROPOSER), 0);
        vm.assertEq(address(bonds).balance, BOND);
    }

    /// @notice Also where there is no fee, and where it was taken back: a consumer relies on the bond all the same.
    function test_theBondIsDemandedWithoutAFee() public {
        RequestId free = askFor(BOND, 0);
        expectShort(PROPOSER, 0, BOND);
        create(PROPOSER, free, right, 0);
        skip(RECLAIM_DELAY);
        vm.prank(REQUESTER);
        oracle.reclaimFee(id);
        expectShort(PROPOSER, 0, BOND);
        create(PROPOSER, id, right, 0);
    }

    function test_withoutADemandNothingIsLocked() public {
        deposit(PROPOSER, BOND);
        RequestId other = askFor(0, 1 ether);
        FaultDisputeGame game = create(PROPOSER, other, Claim.wrap("a claim"), 0);
        vm.assertEq(bonds.bondOf(game), 0);
        vm.assertEq(bonds.depositOf(PROPOSER), BOND);
        vm.expectRevert(abi.encodeWithSelector(IProposerBonds.NoBond.selector, game));
        bonds.release(game);
    }

    /// @notice An account that copies a proposal, to be first, locks its own money; the copied one keeps its own.
    function test_aFrontRunnerLocksItsOwn() public {
        deposit(PROPOSER, BOND);
        expectShort(CHALLENGER, 0, BOND);
        create(CHALLENGER, id, right, 0);
        deposit(CHALLENGER, BOND);
        FaultDisputeGame copy = create(CHALLENGER, id, right, 0);
        vm.assertEq(bonds.depositOf(PROPOSER), BOND);
        FaultDisputeGame own = create(PROPOSER, id, right, 1);
        vm.assertEq(bonds.bondOf(copy) + bonds.bondOf(own), 2 * uint256(BOND));
    }

    /// @notice Each game about the answer has a bond of its own.
    function test_aProposalMadeAgainLocksAgain() public {
        deposit(PROPOSER, BOND);
        FaultDisputeGame lost = create(PROPOSER, id, right, 0);
        attack(CHALLENGER, lost, Claim.wrap("nonsense"));
        skip(CLOCK);
        resolve(lost);
        expectShort(PROPOSER, 0, BOND);
        create(PROPOSER, id, right, 1);
        deposit(PROPOSER, BOND);
        FaultDisputeGame again = create(PROPOSER, id, right, 1);
        survive(again);
        oracle.finalize(id, again, output, ArenaRoot.wrap(ARENA));
        bonds.release(again);
        bonds.release(lost);
        vm.assertEq(address(bonds).balance, 0);
    }

    /// @notice Games of a type that does not count lock nothing: they deliver nothing either.
    function test_gamesThatDoNotCountLockNothing() public {
        vm.prank(OWNER);
        oracle.setRespectedGameType(1);
        FaultDisputeGame game = create(PROPOSER, id, right, 0);
        vm.assertEq(bonds.bondOf(game), 0);
        survive(game);
        vm.assertFalse(oracle.isGameClaimValid(game));
    }

    function test_lock_onlyByTheOracle() public {
        deposit(PROPOSER, BOND);
        vm.expectRevert(abi.encodeWithSelector(IProposerBonds.NotOracle.selector, address(this), address(oracle)));
        bonds.lock(IFaultDisputeGame(address(1)), PROPOSER, 1);
        vm.assertEq(bonds.oracle(), address(oracle));
    }

    /// @notice Only a game that the factory made has a bond locked, and only its creator's: no account locks another's deposit.
    function test_noStrangerLocksADeposit() public {
        deposit(PROPOSER, BOND);
        RequestId[2] memory abouts = [id, askFor(BOND, 0)];
        for (uint256 i = 0; i < 2; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.NotAGame.selector, address(this)));
            oracle.recordProposal(CANNON, right, abi.encode(abouts[i]), PROPOSER);
        }
        vm.assertEq(bonds.depositOf(PROPOSER), BOND);
    }

    function test_withdraw_whatIsFree() public {
        deposit(PROPOSER, BOND + 3);
        create(PROPOSER, id, right, 0);
        expectShort(PROPOSER, 3, 4);
        vm.prank(PROPOSER);
        bonds.withdraw(4);
        uint256 before = PROPOSER.balance;
        vm.prank(PROPOSER);
        vm.expectEmit(address(bonds));
        emit IProposerBonds.Withdrawn(PROPOSER, 3);
        bonds.withdraw(3);
        vm.assertEq(PROPOSER.balance, before + 3);
        vm.assertEq(address(bonds).balance, BOND);
    }

    /// @notice A deposit is taken back once, also by an account that asks again while it is paid.
    function test_withdraw_paysOnceWhateverTheSenderDoes() public {
        deposit(PROPOSER, BOND); // of another, which must stay
        GreedyProposer greedy = new GreedyProposer();
        deposit(address(greedy), BOND);
        greedy.prepare(abi.encodeCall(bonds.withdraw, (BOND)));
        greedy.make(address(bonds), abi.encodeCall(bonds.withdraw, (BOND)));
        vm.assertEq(greedy.reason(), IProposerBonds.DepositShort.selector);
        vm.assertEq(address(greedy).balance, BOND);
        vm.assertEq(address(bonds).balance, BOND);
    }

    // ---------------------------------------------------------------- after the game

    function test_release_toTheProposerOfAnAnswerThatStands() public {
        deposit(PROPOSER, BOND);
        FaultDisputeGame game = create(PROPOSER, id, right, 0);
        vm.expectRevert(GameNotResolved.selector);
        bonds.release(game);
        skip(CLOCK);
        resolve(game);
        vm.expectRevert(GameNotFinalized.selector);
        bonds.release(game);
        skip(FINALITY_DELAY + 1);
        uint256 before = PROPOSER.balance;
        vm.expectEmit(address(bonds));
        emit IProposerBonds.BondReleased(game, PROPOSER, BOND);
        bonds.release(game);
        vm.assertEq(PROPOSER.balance, before + BOND);
        vm.expectRevert(abi.encodeWithSelector(IProposerBonds.NoBond.selector, game));
        bonds.release(game);
    }

    /// @notice The challenger that won the root claim gets the bond, less the part that no winner gets.
    function test_release_toTheChallengerThatWon() public {
        deposit(PROPOSER, BOND);
        FaultDisputeGame game = create(PROPOSER, id, Claim.wrap("a lie"), 0);
        attack(CHALLENGER, game, Claim.wrap("the truth"));
        attack(REQUESTER, game, Claim.wrap("too late"));
        survive(game);
        (uint256 before, uint256 burnt) = (CHALLENGER.balance, BURN_ADDRESS.balance);
        bonds.release(game);
        uint256 forfeited = uint256(BOND) * FORFEITED_BPS / ALL_BPS;
        vm.assertEq(CHALLENGER.balance - before, BOND - forfeited);
        vm.assertEq(BURN_ADDRESS.balance - burnt, forfeited);
        vm.assertEq(address(bonds).balance, 0);
    }

    function test_release_notWhilePaused() public {
        deposit(PROPOSER, BOND);
        FaultDisputeGame game = create(PROPOSER, id, right, 0);
        survive(game);
        game.closeGame(); // even if the game is closed
        vm.prank(GUARDIAN);
        oracle.setPaused(true);
        vm.expectRevert(IProposerBonds.Paused.selector);
        bonds.release(game);
        skip(PAUSE_DURATION);
        bonds.release(game);
    }

    /// @notice Whom the bond goes to is decided when the game is closed. Discarding all games later saves no liar.
    function test_release_afterTheGameWasClosedAndThenRetired() public {
        deposit(PROPOSER, BOND);
        FaultDisputeGame game = create(PROPOSER, id, Claim.wrap("a lie"), 0);
        attack(CHALLENGER, game, Claim.wrap("the truth"));
        survive(game);
        game.closeGame();
        vm.prank(GUARDIAN);
        oracle.updateRetirementTimestamp();
        uint256 before = CHALLENGER.balance;
        bonds.release(game);
        vm.assertGt(CHALLENGER.balance, before);
    }

    /// @notice A proposer that takes no money keeps its game from nothing, and has it all the same.
    function test_release_toAProposerThatRefusesIt() public {
        ProudProposer proud = new ProudProposer();
        deposit(address(proud), BOND);
        bytes memory call = abi.encodeCall(factory.create, (CANNON, right, abi.encode(id)));
        FaultDisputeGame game = FaultDisputeGame(payable(proud.create{value: INIT_BOND}(address(factory), call)));
        survive(game);
        bonds.release(game);
        vm.assertEq(address(proud).balance, BOND);
    }

    /// @notice A bond is paid out once, also to a proposer that asks for it again while it is paid.
    function test_release_paysOnceWhateverTheRecipientDoes() public {
        deposit(PROPOSER, BOND); // of another, which must stay
        GreedyProposer greedy = new GreedyProposer();
        deposit(address(greedy), BOND);
        bytes memory call = abi.encodeCall(factory.create, (CANNON, right, abi.encode(id)));
        bytes memory made = greedy.make{value: INIT_BOND}(address(factory), call);
        FaultDisputeGame game = FaultDisputeGame(payable(abi.decode(made, (address))));
        survive(game);
        game.closeGame(); // so that a second payment would need little gas
        greedy.prepare(abi.encodeCall(bonds.release, (game)));
        bonds.release(game);
        vm.assertEq(greedy.reason(), IProposerBonds.NoBond.selector);
        vm.assertEq(address(greedy).balance, BOND);
        vm.assertEq(address(bonds).balance, BOND);
    }

    /// @notice Whatever happens to two games about one request, each wei goes where it belongs, and none is left or made.
    /// @param fates For each game: whether its root claim is disputed, and whether the guardian discards it, and when.
    function testFuzz_everyWeiComesBack(uint96 minBond, uint256[2] memory fates, uint256 spare, bool retire) public {
        minBond = uint96(bound(minBond, 1, 1e8 ether));
        spare = bound(spare, 0, 1e9 ether);
        RequestId about = askFor(minBond, 0);
        address[2] memory who = [makeAddr("ann"), makeAddr("ben")];
        FaultDisputeGame[2] memory games;
        for (uint256 i = 0; i < 2; ++i) {
            vm.deal(who[i], INIT_BOND);
            deposit(who[i], minBond + spare);
            games[i] = create(who[i], about, right, i);
            if (fates[i] % 2 == 1) attack(CHALLENGER, games[i], Claim.wrap("another"));
            if (fates[i] / 2 % 4 == 1) discard(games[i], retire);
        }
        skip(CLOCK);
        for (uint256 i = 0; i < 2; ++i) {
            resolve(games[i]);
            if (fates[i] / 2 % 4 == 2) discard(games[i], retire);
        }
        skip(FINALITY_DELAY + 1);
        uint256 whole = address(bonds).balance;
        vm.assertEq(whole, 2 * (minBond + spare));
        for (uint256 i = 0; i < 2; ++i) {
            bool keeps = fates[i] % 2 == 0 || !oracle.isGameProper(games[i]);
            uint256 forfeited = uint256(minBond) * FORFEITED_BPS / ALL_BPS;
            uint256[3] memory before = [who[i].balance, CHALLENGER.balance, BURN_ADDRESS.balance];
            bonds.release(games[i]);
            vm.assertEq(who[i].balance - before[0], keeps ? minBond : 0);
            vm.assertEq(CHALLENGER.balance - before[1], keeps ? 0 : minBond - forfeited);
            vm.assertEq(BURN_ADDRESS.balance - before[2], keeps ? 0 : forfeited);
            vm.prank(who[i]);
            bonds.withdraw(spare);
        }
        vm.assertEq(address(bonds).balance, 0);
    }

    function discard(FaultDisputeGame game, bool retire) internal {
        vm.prank(GUARDIAN);
        if (retire) oracle.updateRetirementTimestamp();
        else oracle.blacklistDisputeGame(game);
    }
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {GameFixture} from "./helpers/GameFixture.sol";
import "../../src/dispute/Errors.sol";
import {BondTerms} from "../../src/dispute/Bond.sol";
import {FaultDisputeGame} from "../../src/dispute/FaultDisputeGame.sol";
import {BondDistributionMode} from "../../src/dispute/Types.sol";
import {IDelayedWETH} from "../../src/dispute/interfaces/IDelayedWETH.sol";
import {IFaultDisputeGame} from "../../src/dispute/interfaces/IFaultDisputeGame.sol";
import {Claim} from "../../src/dispute/Claim.sol";
import {Timestamp256} from "../../src/dispute/Time.sol";

/// @notice Tries to claim again whenever it gets money.
contract Reentrant {
    FaultDisputeGame internal immutable GAME;
    uint256 public tries;

    constructor(FaultDisputeGame game) payable {
        GAME = game;
    }

    function attackRoot(Claim claim) external {
        GAME.attack{value: address(this).balance}(GAME.rootClaim(), 0, claim);
    }

    receive() external payable {
        ++tries;
        GAME.depositBonds(); // nothing of what is paid is with the game any more
        (bool success, bytes memory reason) =
            address(GAME).call(abi.encodeCall(IFaultDisputeGame.claimCredit, (address(this))));
        require(!success && bytes4(reason) == NoCreditToClaim.selector, "claimed twice");
    }
}

/// @notice From a resolved game to money in the pocket: closing, the two calls, the two delays, the two ledgers.
contract PayoutTest is GameFixture {
    function setUp() public override {
        super.setUp();
        propose(lie(0));
    }

    /// @dev The challenger's answer stands; everything is resolved.
    function challengerWins() internal {
        moveAs(CHALLENGER, 0, lie(1), true);
        skip(CLOCK);
        resolveAll();
    }

    // ---------------------------------------------------------------- closing

    function test_closeGame_errorsInOrder() public {
        registry.setPaused(true);
        vm.expectRevert(GamePaused.selector);
        game.closeGame();
        registry.setPaused(false);
        vm.expectRevert(GameNotResolved.selector);
        game.closeGame();
        challengerWins();
        vm.expectRevert(GameNotFinalized.selector);
        game.closeGame();
        registry.setFinal(true);
        game.closeGame();
    }

    function test_claimCredit_refusesAsClosingDoes() public {
        registry.setPaused(true);
        vm.expectRevert(GamePaused.selector);
        game.claimCredit(CHALLENGER);
        registry.setPaused(false);
        vm.expectRevert(GameNotResolved.selector);
        game.claimCredit(CHALLENGER);
        challengerWins();
        vm.expectRevert(GameNotFinalized.selector);
        game.claimCredit(CHALLENGER);
    }

    function test_closeGame_normalMode() public {
        challengerWins();
        registry.setFinal(true);
        vm.expectEmit(address(game));
        emit IFaultDisputeGame.GameClosed(BondDistributionMode.NORMAL);
        game.closeGame();
        vm.assertTrue(game.bondDistributionMode() == BondDistributionMode.NORMAL);
        vm.assertEq(registry.anchorUpdates(), 1);
    }

    function test_closeGame_refundMode() public {
        challengerWins();
        registry.setFinal(true);
        registry.setProper(false);
        vm.expectEmit(address(game));
        emit IFaultDisputeGame.GameClosed(BondDistributionMode.REFUND);
        game.closeGame();
        vm.assertTrue(game.bondDistributionMode() == BondDistributionMode.REFUND);
    }

    /// @notice Decided once: what the registry says later changes nothing, not even a pause.
    function test_closeGame_isFinal() public {
        challengerWins();
        registry.setFinal(true);
        game.closeGame();
        registry.setProper(false);
        registry.setPaused(true);
        game.closeGame();
        vm.assertTrue(game.bondDistributionMode() == BondDistributionMode.NORMAL);
        vm.assertEq(registry.anchorUpdates(), 1);
    }

    function test_closeGame_swallowsTheAnchorsRefusal() public {
        challengerWins();
        registry.setFinal(true);
        registry.setAnchorReverts(true);
        game.closeGame();
        vm.assertTrue(game.bondDistributionMode() == BondDistributionMode.NORMAL);
    }

    // ---------------------------------------------------------------- claiming

    function test_claimCredit_inTwoCalls() public {
        challengerWins();
        registry.setFinal(true);
        uint256 amount = INIT_BOND + claimAt(1).bond;
        uint256 before = CHALLENGER.balance;

        vm.expectEmit(address(game));
        emit IFaultDisputeGame.CreditUnlocked(CHALLENGER, amount);
        game.claimCredit(CHALLENGER);
        vm.assertTrue(game.hasUnlockedCredit(CHALLENGER));
        (uint256 announced, Timestamp256 since) = weth.withdrawals(address(game), CHALLENGER);
        vm.assertEq(announced, amount);
        vm.assertEq(since.raw(), block.timestamp);

        vm.expectRevert("DelayedWETH: withdrawal delay not met");
        game.claimCredit(CHALLENGER);
        skip(WETH_DELAY - 1);
        vm.expectRevert("DelayedWETH: withdrawal delay not met");
        game.claimCredit(CHALLENGER);
        skip(1);
        registry.setPaused(true);
        vm.expectRevert("DelayedWETH: contract is paused");
        game.claimCredit(CHALLENGER);
        registry.setPaused(false);

        vm.expectEmit(address(game));
        emit IFaultDisputeGame.CreditPaid(CHALLENGER, amount);
        game.claimCredit(CHALLENGER);
        vm.assertEq(CHALLENGER.balance, before + amount);
        vm.assertEq(game.credit(CHALLENGER), 0);
        vm.assertEq(weth.balanceOf(address(game)), 0);
        vm.assertEq(address(weth).balance, 0);
        vm.assertEq(address(game).balance, 0);

        vm.expectRevert(NoCreditToClaim.selector);
        game.claimCredit(CHALLENGER);
    }

    /// @notice In refund mode everybody gets back what they paid.
    function test_claimCredit_refunds() public {
        challengerWins();
        registry.setFinal(true);
        registry.setProper(false);
        (uint256 challengerBefore, uint256 proposerBefore) = (CHALLENGER.balance, PROPOSER.balance);
        game.claimCredit(CHALLENGER);
        game.claimCredit(PROPOSER);
        skip(WETH_DELAY);
        game.claimCredit(CHALLENGER);
        game.claimCredit(PROPOSER);
        vm.assertEq(CHALLENGER.balance, challengerBefore + claimAt(1).bond);
        vm.assertEq(PROPOSER.balance, proposerBefore + INIT_BOND);
    }

    /// @notice All that one paid comes back, not only the last bond.
    function test_claimCredit_refundsEveryBond() public {
        moveAs(CHALLENGER, 0, lie(1), true);
        moveAs(CHALLENGER, 1, lie(2), true);
        vm.assertEq(game.refundModeCredit(CHALLENGER), claimAt(1).bond + claimAt(2).bond);
        skip(CLOCK);
        resolveAll();
        registry.setFinal(true);
        registry.setProper(false);
        uint256 before = CHALLENGER.balance;
        game.claimCredit(CHALLENGER);
        skip(WETH_DELAY);
        game.claimCredit(CHALLENGER);
        vm.assertEq(CHALLENGER.balance, before + claimAt(1).bond + claimAt(2).bond);
        vm.assertEq(game.credit(CHALLENGER), 0);
    }

    /// @notice Who has nothing can announce it, but not take it.
    function test_claimCredit_ofNothing() public {
        challengerWins();
        registry.setFinal(true);
        game.claimCredit(PROPOSER);
        vm.assertTrue(game.hasUnlockedCredit(PROPOSER));
        skip(WETH_DELAY);
        vm.expectRevert(NoCreditToClaim.selector);
        game.claimCredit(PROPOSER);
    }

    /// @notice `credit` follows the ledger that applies.
    function test_credit_followsTheMode() public {
        challengerWins();
        vm.assertEq(game.credit(PROPOSER), 0);
        registry.setFinal(true);
        registry.setProper(false);
        game.closeGame();
        vm.assertEq(game.credit(PROPOSER), INIT_BOND);
    }

    function test_claimCredit_paysOnceWhateverTheRecipientDoes() public {
        uint256 bond = bondOf(0, true);
        Reentrant recipient = new Reentrant{value: bond}(game);
        recipient.attackRoot(lie(1));
        moveAs(PROPOSER, 0, lie(2), true); // other money in the vault
        skip(CLOCK);
        resolveAll();
        registry.setFinal(true);
        game.claimCredit(address(recipient));
        skip(WETH_DELAY);
        game.claimCredit(address(recipient));
        vm.assertEq(recipient.tries(), 1);
        vm.assertEq(address(recipient).balance, bond + INIT_BOND);
    }

    /// @notice A recipient that refuses money keeps its credit.
    function test_claimCredit_keepsWhatCannotBePaid() public {
        vm.deal(address(factory), 1e4 ether); // a contract without a way to take money
        moveAs(address(factory), 0, lie(1), true);
        skip(CLOCK);
        resolveAll();
        registry.setFinal(true);
        game.claimCredit(address(factory));
        skip(WETH_DELAY);
        uint256 amount = game.credit(address(factory));
        vm.expectRevert(BondTransferFailed.selector);
        game.claimCredit(address(factory));
        vm.assertEq(game.credit(address(factory)), amount);
        (uint256 announced,) = weth.withdrawals(address(game), address(factory));
        vm.assertEq(announced, amount);
    }

    // ---------------------------------------------------------------- where the bonds are

    /// @notice One deposit for all bonds, when the game is closed; not by a refused closing, and not twice.
    function test_closeGame_depositsTheBonds() public {
        challengerWins();
        uint256 bonds = INIT_BOND + claimAt(1).bond;
        vm.expectRevert(GameNotFinalized.selector);
        game.closeGame();
        vm.assertEq(address(game).balance, bonds);
        vm.assertEq(weth.balanceOf(address(game)), 0);
        registry.setFinal(true);
        vm.expectEmit(address(weth));
        emit IDelayedWETH.Deposit(address(game), bonds);
        game.closeGame();
        vm.assertEq(address(game).balance, 0);
        vm.assertEq(weth.balanceOf(address(game)), bonds);
        vm.recordLogs();
        game.closeGame();
        vm.assertEq(vm.getRecordedLogs().length, 0);
    }

    /// @notice Any account can deposit earlier, however often; the game goes on, and pays the same.
    function testFuzz_depositBonds_changesNoPayment(uint8 when, address who) public {
        vm.assume(who != address(0));
        uint256 before = CHALLENGER.balance;
        for (uint256 i = 0; i < 6; ++i) {
            if (when >> i & 1 == 1) {
                vm.prank(who);
                game.depositBonds();
                vm.assertEq(address(game).balance, 0);
            }
            if (i < 3) moveAs(CHALLENGER, 0, lie(i + 1), true);
        }
        skip(CLOCK);
        resolveAll();
        registry.setFinal(true);
        game.claimCredit(CHALLENGER);
        skip(WETH_DELAY);
        game.claimCredit(CHALLENGER);
        vm.assertEq(CHALLENGER.balance, before + INIT_BOND);
        vm.assertEq(weth.balanceOf(address(game)), 0);
    }

    function test_depositBonds_ofNothingAsksNothing() public {
        game.depositBonds();
        vm.recordLogs();
        game.depositBonds();
        vm.assertEq(vm.getRecordedLogs().length, 0);
    }

    /// @notice The vault's owner can hold the bonds of a game that ended wrongly, during the whole delay before any is paid.
    function testFuzz_hold_stopsAPayment(uint256 after_) public {
        challengerWins();
        registry.setFinal(true);
        game.claimCredit(CHALLENGER);
        skip(bound(after_, 0, WETH_DELAY));
        vm.prank(OWNER);
        weth.hold(address(game));
        skip(WETH_DELAY);
        vm.expectRevert();
        game.claimCredit(CHALLENGER);
        vm.assertEq(weth.balanceOf(OWNER), INIT_BOND + claimAt(1).bond);
    }

    /// @notice The bonds of a game that does not end can be held and recovered too: any account puts them into the vault.
    function test_recover_reachesAnOpenGame() public {
        moveAs(CHALLENGER, 0, lie(1), true);
        uint256 bonds = INIT_BOND + claimAt(1).bond;
        game.depositBonds();
        uint256 before = OWNER.balance;
        vm.startPrank(OWNER);
        weth.hold(address(game), 1);
        weth.recover(address(game), type(uint256).max);
        vm.stopPrank();
        vm.assertEq(OWNER.balance, before + bonds - 1);
        vm.assertEq(weth.balanceOf(OWNER), 1);
    }

    /// @notice As the published game does: each bond is in the vault as soon as its claim is there.
    function test_depositedAtOnce() public {
        BondTerms memory chosen = terms();
        chosen.depositedAtOnce = true;
        implementation = new FaultDisputeGame(limits(), chosen);
        vm.prank(OWNER);
        factory.setImplementation(CANNON, implementation, gameArgs());
        propose(lie(7));
        vm.assertTrue(game.bondTerms().depositedAtOnce);
        vm.assertEq(weth.balanceOf(address(game)), INIT_BOND);
        moveAs(CHALLENGER, 0, lie(1), true);
        vm.assertEq(weth.balanceOf(address(game)), INIT_BOND + claimAt(1).bond);
        vm.assertEq(address(game).balance, 0);
    }

    /// @notice Ether sent to a game by mistake is not a bond and is never paid out; the vault's owner can recover it.
    function test_strayEther_staysOutOfTheBooks() public {
        payable(address(game)).transfer(1 ether); // 2300 gas suffice
        challengerWins();
        registry.setFinal(true);
        game.claimCredit(CHALLENGER);
        skip(WETH_DELAY);
        game.claimCredit(CHALLENGER);
        vm.assertEq(address(game).balance, 0);
        vm.assertEq(weth.balanceOf(address(game)), 1 ether);
        uint256 before = OWNER.balance;
        vm.prank(OWNER);
        weth.recover(address(game), type(uint256).max);
        vm.assertEq(OWNER.balance, before + 1 ether);
    }
}

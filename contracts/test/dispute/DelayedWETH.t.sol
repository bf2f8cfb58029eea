// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {GameFixture} from "./helpers/GameFixture.sol";
import {ERC20} from "solady/tokens/ERC20.sol";
import {DelayedWETH} from "../../src/dispute/DelayedWETH.sol";
import {IDelayedWETH} from "../../src/dispute/interfaces/IDelayedWETH.sol";
import {Timestamp256} from "../../src/dispute/Time.sol";

/// @notice A depositor that measures how much gas its money comes with.
contract Depositor {
    uint256 internal gasOnReceive;

    function deposit(DelayedWETH weth) external payable {
        weth.deposit{value: msg.value}();
    }

    function withdraw(DelayedWETH weth, uint256 wad) external {
        weth.withdraw(wad);
    }

    function unlock(DelayedWETH weth, uint256 wad) external {
        weth.unlock(address(this), wad);
    }

    receive() external payable {
        require(gasleft() <= 2300, "more gas than a transfer has");
    }
}

/// @notice The vault that the bonds are in.
contract DelayedWETHTest is GameFixture {
    address internal immutable ALICE = makeAddr("alice");
    address internal immutable BOB = makeAddr("bob");

    function setUp() public override {
        super.setUp();
        vm.deal(ALICE, 100 ether);
        vm.startPrank(ALICE);
        weth.deposit{value: 10 ether}();
    }

    receive() external payable {}

    function test_metadata() public view {
        vm.assertEq(weth.name(), "Wrapped Ether");
        vm.assertEq(weth.symbol(), "WETH");
        vm.assertEq(weth.decimals(), 18);
        vm.assertEq(weth.delay().raw(), WETH_DELAY);
        vm.assertEq(weth.config(), address(registry));
        vm.assertEq(weth.totalSupply(), 10 ether);
    }

    function test_deposit_inThreeWays() public {
        vm.expectEmit(address(weth));
        emit IDelayedWETH.Deposit(ALICE, 1 ether);
        weth.deposit{value: 1 ether}();
        (bool sent,) = address(weth).call{value: 2 ether}("");
        (bool called,) = address(weth).call{value: 3 ether}(hex"12345678");
        vm.assertTrue(sent && called);
        vm.assertEq(weth.balanceOf(ALICE), 16 ether);
        vm.assertEq(weth.totalSupply(), 16 ether);
    }

    function test_withdraw_errorsInOrder() public {
        registry.setPaused(true);
        vm.expectRevert("DelayedWETH: contract is paused");
        weth.withdraw(1);
        registry.setPaused(false);
        vm.expectRevert("DelayedWETH: insufficient unlocked withdrawal");
        weth.withdraw(1);
        vm.expectRevert("DelayedWETH: withdrawal not unlocked");
        weth.withdraw(0);
        weth.unlock(ALICE, 5 ether);
        vm.expectRevert("DelayedWETH: insufficient unlocked withdrawal");
        weth.withdraw(5 ether + 1);
        skip(WETH_DELAY - 1);
        vm.expectRevert("DelayedWETH: withdrawal delay not met");
        weth.withdraw(5 ether);
        skip(1);
        weth.withdraw(5 ether);
        vm.assertEq(weth.balanceOf(ALICE), 5 ether);
        vm.assertEq(ALICE.balance, 95 ether);
    }

    /// @notice As tokens do: what comes is from no account, and what leaves goes to none.
    function test_depositAndWithdraw_logTransfers() public {
        vm.expectEmit(address(weth));
        emit ERC20.Transfer(address(0), ALICE, 1 ether);
        weth.deposit{value: 1 ether}();
        weth.unlock(ALICE, 2 ether);
        skip(WETH_DELAY);
        vm.expectEmit(address(weth));
        emit ERC20.Transfer(ALICE, address(0), 2 ether);
        weth.withdraw(2 ether);
    }

    /// @notice What is taken out for another account goes to the owner of the WETH, which passes it on.
    function test_withdraw_forAnother() public {
        weth.unlock(BOB, 3 ether);
        skip(WETH_DELAY);
        vm.expectEmit(address(weth));
        emit IDelayedWETH.Withdrawal(ALICE, 2 ether);
        weth.withdraw(BOB, 2 ether);
        (uint256 left,) = weth.withdrawals(ALICE, BOB);
        vm.assertEq(left, 1 ether);
        vm.assertEq(ALICE.balance, 92 ether);
        vm.assertEq(BOB.balance, 0);
    }

    function test_unlock_addsUpAndStartsAnew() public {
        vm.expectEmit(address(weth));
        emit IDelayedWETH.Unlocked(ALICE, BOB, 3 ether);
        weth.unlock(BOB, 3 ether);
        skip(WETH_DELAY);
        weth.unlock(BOB, 1 ether);
        (uint256 amount, Timestamp256 since) = weth.withdrawals(ALICE, BOB);
        vm.assertEq(amount, 4 ether);
        vm.assertEq(since.raw(), block.timestamp);
        vm.expectRevert("DelayedWETH: withdrawal delay not met");
        weth.withdraw(BOB, 3 ether);
    }

    /// @notice Announcing more than one has is possible; taking it is not.
    function test_unlock_looksAtNoBalance() public {
        weth.unlock(ALICE, 1000 ether);
        skip(WETH_DELAY);
        vm.expectRevert();
        weth.withdraw(10 ether + 1);
        weth.withdraw(10 ether);
    }

    /// @notice The amount shares a word with the time, and never reaches into it.
    function test_unlock_refusesWhatDoesNotFit() public {
        weth.unlock(ALICE, type(uint216).max);
        (uint256 amount,) = weth.withdrawals(ALICE, ALICE);
        vm.assertEq(amount, type(uint216).max);
        vm.expectRevert("DelayedWETH: amount too large");
        weth.unlock(ALICE, 1);
    }

    /// @notice Only a time of 0 means that nothing was announced.
    function test_withdraw_whatWasUnlockedAtOne() public {
        vm.warp(1);
        weth.unlock(ALICE, 1 ether);
        skip(WETH_DELAY);
        weth.withdraw(1 ether);
        vm.assertEq(weth.balanceOf(ALICE), 9 ether);
    }

    function test_withdraw_gives2300Gas() public {
        vm.stopPrank();
        Depositor depositor = new Depositor();
        depositor.deposit{value: 1 ether}(weth);
        depositor.unlock(weth, 1 ether);
        skip(WETH_DELAY);
        depositor.withdraw(weth, 1 ether);
        vm.assertEq(address(depositor).balance, 1 ether);
    }

    function test_ownerOnly() public {
        vm.expectRevert("DelayedWETH: not owner");
        weth.hold(BOB);
        vm.expectRevert("DelayedWETH: not owner");
        weth.hold(BOB, 1);
        vm.expectRevert("DelayedWETH: not owner");
        weth.recover(BOB, 1);
        vm.expectRevert("DelayedWETH: not owner");
        weth.transferOwnership(ALICE);
    }

    function test_hold_takesWeth() public {
        vm.stopPrank();
        vm.startPrank(OWNER);
        weth.hold(ALICE, 4 ether);
        vm.assertEq(weth.balanceOf(OWNER), 4 ether);
        weth.hold(ALICE);
        vm.assertEq(weth.balanceOf(OWNER), 10 ether);
        vm.assertEq(weth.balanceOf(ALICE), 0);
    }

    /// @notice Clients see an approval, which the transfer uses up; an owner that holds its own WETH keeps it.
    function test_hold_logsAsThePublishedVault() public {
        vm.stopPrank();
        vm.startPrank(OWNER);
        vm.expectEmit(address(weth));
        emit ERC20.Approval(ALICE, OWNER, 4 ether);
        vm.expectEmit(address(weth));
        emit ERC20.Transfer(ALICE, OWNER, 4 ether);
        weth.hold(ALICE, 4 ether);
        vm.assertEq(weth.allowance(ALICE, OWNER), 0);
        weth.hold(OWNER, 1 ether);
        vm.assertEq(weth.allowance(OWNER, OWNER), 1 ether);
        vm.assertEq(weth.balanceOf(OWNER), 4 ether);
        vm.expectRevert(ERC20.InsufficientBalance.selector);
        weth.hold(ALICE, 7 ether);
    }

    /// @notice What the owner takes out is one account's: every other account stays covered by ether.
    function test_recover_reachesOneAccount() public {
        vm.stopPrank();
        vm.deal(BOB, 5 ether);
        vm.prank(BOB);
        weth.deposit{value: 5 ether}();
        vm.startPrank(OWNER);
        weth.recover(ALICE, 1 ether);
        vm.assertEq(OWNER.balance, 1 ether);
        vm.assertEq(weth.balanceOf(ALICE), 9 ether);
        weth.recover(ALICE, 1000 ether); // no more than there is
        vm.assertEq(OWNER.balance, 10 ether);
        vm.assertEq(weth.balanceOf(ALICE), 0);
        vm.assertEq(weth.balanceOf(BOB), 5 ether);
        vm.assertEq(weth.totalSupply(), 5 ether);
        weth.recover(ALICE, 1 ether);
        vm.assertEq(weth.totalSupply(), 5 ether);
    }

    /// @notice What the owner does not take stays where it was.
    function test_recover_refusedByTheOwner() public {
        vm.stopPrank();
        vm.prank(OWNER);
        weth.transferOwnership(address(registry));
        vm.prank(address(registry));
        vm.expectRevert("DelayedWETH: recover failed");
        weth.recover(ALICE, 1 ether);
        vm.assertEq(weth.balanceOf(ALICE), 10 ether);
    }

    /// @notice No contract has a standing allowance.
    function test_allowance_isNobodysByDefault() public view {
        vm.assertEq(weth.allowance(ALICE, 0x000000000022D473030F116dDEE9F6B43aC78BA3), 0);
    }
}

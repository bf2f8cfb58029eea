// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {GameFixture} from "./helpers/GameFixture.sol";
import {BondTerms, MAX_FORFEITED_BPS} from "../../src/dispute/Bond.sol";
import {BondTransferFailed, NoCreditToClaim} from "../../src/dispute/Errors.sol";
import {FaultDisputeGame} from "../../src/dispute/FaultDisputeGame.sol";
import {IFaultDisputeGame} from "../../src/dispute/interfaces/IFaultDisputeGame.sol";
import {Claim} from "../../src/dispute/Claim.sol";

/// @notice A treasury that takes money only if it is told to.
contract Treasury {
    bool internal isOpen;

    function open() external {
        isOpen = true;
    }

    receive() external payable {
        require(isOpen, "closed");
    }
}

/// @notice The part of each lost bond that no winner gets.
contract ForfeitTest is GameFixture {
    bytes4 internal constant PANIC = 0x4e487b71; // Panic(uint256)

    Treasury internal treasury;

    function setUp() public override {
        super.setUp();
        treasury = new Treasury();
        deployWith(2_500, lie(0));
    }

    /// @dev A game type that keeps this part, and a game of it.
    function deployWith(uint16 bps, Claim rootClaim) internal {
        deployWith(publishedTerms(bps), rootClaim);
    }

    function deployWith(BondTerms memory chosen, Claim rootClaim) internal {
        chosen.forfeitedTo = address(treasury);
        implementation = new FaultDisputeGame(limits(), chosen);
        vm.prank(OWNER);
        factory.setImplementation(CANNON, implementation, gameArgs());
        propose(rootClaim);
    }

    function test_settle_splitsALostBond() public {
        moveAs(CHALLENGER, 0, lie(1), true);
        uint256 answer = bondOf(0, true);
        skip(CLOCK);
        game.resolveClaim(1, 0);
        vm.assertEq(game.normalModeCredit(CHALLENGER), answer); // its own bond comes back whole
        vm.assertEq(game.normalModeCredit(address(treasury)), 0);
        vm.expectEmit(address(game));
        emit IFaultDisputeGame.ClaimResolved(0, CHALLENGER);
        vm.expectEmit(address(game));
        emit IFaultDisputeGame.BondPaid(0, CHALLENGER, 0.06 ether);
        vm.recordLogs();
        game.resolveClaim(0, 0);
        vm.assertEq(vm.getRecordedLogs().length, 2); // the forfeited part is what BondPaid lacks of the bond
        vm.assertEq(game.normalModeCredit(CHALLENGER), answer + 0.06 ether);
        vm.assertEq(game.normalModeCredit(address(treasury)), 0.02 ether);
        vm.assertEq(game.normalModeCredit(PROPOSER), 0);
    }

    function test_settle_keepsOneWei() public {
        BondTerms memory chosen = publishedTerms(2_500);
        (chosen.assumedBaseFee, chosen.gasAtRoot, chosen.gasAtMaxDepth) = (1, 4, 4);
        deployWith(chosen, lie(1));
        moveAs(CHALLENGER, 0, lie(2), true);
        moveAs(PROPOSER, 1, lie(3), true);
        skip(CLOCK);
        resolveAll();
        vm.assertEq(game.totalForfeited(), 1);
        vm.assertEq(game.normalModeCredit(address(treasury)), 1);
    }

    /// @notice A leaf that falls by a step pays too.
    function test_settle_splitsALeafsBond() public {
        uint256 leaf = attackDownTo(D);
        bytes memory state = abi.encode(alphabet.firstState());
        vm.prank(CHALLENGER);
        game.step(leaf, true, state, "");
        uint256 bond = claimAt(leaf).bond;
        skip(CLOCK);
        game.resolveClaim(leaf, 0);
        uint256 part = bond * 2_500 / 10_000;
        vm.assertEq(game.normalModeCredit(CHALLENGER), bond - part);
        vm.assertEq(game.normalModeCredit(address(treasury)), part);
        assertForfeit(leaf, CHALLENGER, part);
    }

    /// @notice Of each claim it is told what its bond lost and to whom the claim fell, also after all was paid; the sum is
    ///         kept.
    function test_forfeitOf_isKept() public {
        moveAs(CHALLENGER, 0, lie(1), true);
        vm.expectRevert(abi.encodeWithSelector(PANIC, uint256(0x32)));
        game.forfeitOf(2);
        assertForfeit(0, address(0), 0);
        skip(CLOCK);
        resolveAll();
        registry.setFinal(true);
        treasury.open();
        for (uint256 pass = 0; pass < 2; ++pass) {
            assertForfeit(0, CHALLENGER, 0.02 ether);
            assertForfeit(1, address(0), 0);
            vm.assertEq(game.totalForfeited(), 0.02 ether);
            for (uint256 i = 0; i < 2; ++i) {
                if (pass == 0) game.claimCredit(address(treasury));
                if (pass == 0) game.claimCredit(CHALLENGER);
                skip(WETH_DELAY);
            }
        }
        vm.assertEq(game.credit(address(treasury)), 0);
        vm.assertEq(game.normalModeCredit(address(treasury)), 0);
        vm.assertEq(game.normalModeCredit(CHALLENGER), 0);
        vm.assertEq(game.refundModeCredit(CHALLENGER), 0);
        vm.expectRevert(NoCreditToClaim.selector);
        game.claimCredit(address(treasury));
    }

    function assertForfeit(uint256 index, address by, uint256 amount) internal view {
        (address found, uint256 foundAmount) = game.forfeitOf(index);
        vm.assertEq(found, by);
        vm.assertEq(foundAmount, amount);
    }

    /// @notice A step against a claim that was settled for its claimant takes no bond, and so it counts for nothing here, though
    ///         the claim is countered from then on.
    function test_forfeitOf_countsNoLateStep() public {
        uint256 leaf = attackDownTo(D);
        bytes memory state = abi.encode(alphabet.firstState());
        skip(CLOCK);
        game.resolveClaim(leaf, 0);
        vm.prank(CHALLENGER);
        game.step(leaf, true, state, "");
        vm.assertEq(claimAt(leaf).counteredBy, CHALLENGER);
        assertForfeit(leaf, address(0), 0);
        vm.assertEq(game.totalForfeited(), 0);
        resolveAll();
        uint256 sum = 0;
        for (uint256 i = 0; i < game.claimDataLen(); ++i) {
            (, uint256 amount) = game.forfeitOf(i);
            sum += amount;
        }
        vm.assertEq(game.totalForfeited(), sum);
        assertForfeit(leaf, address(0), 0);
    }

    /// @notice A treasury that plays has both: its bonds, won and lost as any player's, and what is forfeited to it, which is
    ///         counted apart.
    function test_forfeit_toATreasuryThatPlays() public {
        vm.deal(address(treasury), 10 ether);
        moveAs(address(treasury), 0, lie(1), true);
        moveAs(CHALLENGER, 1, lie(2), true);
        uint256 paid = claimAt(1).bond;
        moveAs(address(treasury), 0, lie(3), true);
        skip(CLOCK);
        resolveAll();
        uint256 forfeited = paid * 2_500 / 10_000 + 0.02 ether;
        vm.assertEq(game.totalForfeited(), forfeited);
        vm.assertEq(game.normalModeCredit(address(treasury)), paid + 0.06 ether + forfeited);
    }

    /// @notice To the wei for any part, and nothing is lost or made.
    function testFuzz_settle_conservesWei(uint16 bps, uint256 depth) public {
        bps = uint16(bound(bps, 0, MAX_FORFEITED_BPS));
        depth = bound(depth, 1, D);
        deployWith(bps, lie(1000));
        attackDownTo(depth);
        skip(CLOCK);
        resolveAll();
        uint256 lost = 0;
        uint256 all = 0;
        for (uint256 i = 0; i < game.claimDataLen(); ++i) {
            all += claimAt(i).bond;
            bool isLost = claimAt(i).counteredBy != address(0);
            uint256 part = isLost ? uint256(claimAt(i).bond) * bps / 10_000 : 0;
            assertForfeit(i, claimAt(i).counteredBy, part);
            lost += part;
        }
        vm.assertEq(game.totalForfeited(), lost);
        uint256 treasurys = game.normalModeCredit(address(treasury));
        vm.assertEq(treasurys, lost);
        vm.assertEq(game.normalModeCredit(address(this)) + game.normalModeCredit(PROPOSER) + treasurys, all);
    }

    /// @notice A game that was discarded gives everyone back what they paid; the treasury gets nothing.
    function test_refund_leavesTheTreasuryNothing() public {
        moveAs(CHALLENGER, 0, lie(1), true);
        uint256 answer = bondOf(0, true);
        skip(CLOCK);
        resolveAll();
        registry.setFinal(true);
        registry.setProper(false);
        game.closeGame();
        vm.assertEq(game.credit(address(treasury)), 0);
        vm.assertEq(game.credit(PROPOSER), INIT_BOND);
        vm.assertEq(game.credit(CHALLENGER), answer);
    }

    /// @notice A treasury that refuses its part holds up no other payment.
    function test_claimCredit_paysTheTreasuryWhenItTakesIt() public {
        moveAs(CHALLENGER, 0, lie(1), true);
        skip(CLOCK);
        resolveAll();
        registry.setFinal(true);
        game.claimCredit(address(treasury));
        game.claimCredit(CHALLENGER);
        skip(WETH_DELAY);
        vm.expectRevert(BondTransferFailed.selector);
        game.claimCredit(address(treasury));
        game.claimCredit(CHALLENGER);
        treasury.open();
        game.claimCredit(address(treasury));
        vm.assertEq(address(treasury).balance, 0.02 ether);
        vm.assertEq(weth.balanceOf(address(game)), 0);
    }
}

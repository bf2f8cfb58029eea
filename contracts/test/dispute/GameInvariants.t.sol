// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Test} from "../Test.sol";
import {AlphabetVm} from "./helpers/AlphabetVm.sol";
import {GameFixture} from "./helpers/GameFixture.sol";
import {MockRegistry} from "./helpers/MockRegistry.sol";
import {BondTerms} from "../../src/dispute/Bond.sol";
import {DelayedWETH} from "../../src/dispute/DelayedWETH.sol";
import {FaultDisputeGame} from "../../src/dispute/FaultDisputeGame.sol";
import {ClaimData} from "./helpers/ClaimData.sol";
import {BondDistributionMode, GameStatus} from "../../src/dispute/Types.sol";
import {Claim} from "../../src/dispute/Claim.sol";

/// @notice Players without a plan: they move, step, settle, close and take money in any order, at any time.
contract Players is Test {
    FaultDisputeGame public immutable GAME;
    DelayedWETH internal immutable WETH;
    AlphabetVm internal immutable ALPHABET;
    MockRegistry internal immutable REGISTRY;
    address[3] public players;
    address public immutable TREASURY;

    /// @notice Wei that players got out of the game.
    uint256 public paidOut;
    /// @notice Wei that came to the game by mistake.
    uint256 public stray;
    /// @notice How often each kind of call went through: moves, steps, settled claims, payments.
    uint256[4] public done;
    /// @notice Claims that were settled before they were stepped against.
    mapping(uint256 claimIndex => bool) public isSteppedLate;

    constructor(FaultDisputeGame game, DelayedWETH weth, AlphabetVm alphabet, MockRegistry registry) {
        (GAME, WETH, ALPHABET, REGISTRY) = (game, weth, alphabet, registry);
        TREASURY = game.bondTerms().forfeitedTo;
        players = [makeAddr("p0"), makeAddr("p1"), makeAddr("p2")];
        for (uint256 i = 0; i < 3; ++i) {
            vm.deal(players[i], 1e9 ether);
        }
    }

    function claimAt(uint256 index) public view returns (ClaimData memory c) {
        (c.parentIndex, c.counteredBy, c.claimant, c.bond, c.claim, c.position, c.clock) = GAME.claimData(index);
    }

    function pick(uint256 seed) internal view returns (uint256) {
        uint256 count = GAME.claimDataLen();
        return seed % 2 == 0 ? count - 1 : (seed / 2) % count;
    }

    function move(uint256 who, uint256 seed, bool isAttack, uint8 status) external {
        uint256 index = pick(seed);
        ClaimData memory c = claimAt(index);
        if (c.position.depth() == GAME.maxGameDepth()) return;
        uint256 bond = GAME.getRequiredBond(c.position.move(isAttack));
        Claim claim = Claim.wrap(bytes32(uint256(status % 3) << 248 | seed % 4));
        vm.prank(players[who % 3]);
        try GAME.move{value: bond}(c.claim, index, claim, isAttack || index == 0) {
            ++done[0];
        } catch {}
    }

    /// @notice Attacks the newest claim, so that games reach the bottom.
    function dig(uint256 who, uint256 seed) external {
        this.move(who, 2 * (seed / 2), true, 1);
    }

    function step(uint256 who, uint256 seed) external {
        bytes memory state = abi.encode(ALPHABET.firstState());
        uint256 index = pick(seed);
        vm.prank(players[who % 3]);
        try GAME.step(index, true, state, "") {
            isSteppedLate[index] = GAME.resolvedSubgames(index);
            ++done[1];
        } catch {}
    }

    /// @notice Anyone can put the bonds into the vault early.
    function deposit(uint256 seed) external {
        if (seed % 4 == 0) GAME.depositBonds();
    }

    /// @notice Ether comes to the game that is no bond: sent, or forced upon it.
    function send(uint256 amount, bool isForced) external {
        amount = bound(amount, 1, 1 ether);
        stray += amount;
        vm.deal(isForced ? address(GAME) : players[0], (isForced ? address(GAME) : players[0]).balance + amount);
        if (isForced) return;
        vm.prank(players[0]);
        payable(address(GAME)).transfer(amount);
    }

    function wait(uint256 seconds_) external {
        skip(bound(seconds_, 1, 40_000));
    }

    /// @notice Claims in any order, several at once.
    function settleSome(uint256 seed, uint256 count) external {
        uint256[] memory indices = new uint256[](seed % 6);
        for (uint256 i = 0; i < indices.length; ++i) {
            indices[i] = (seed >> (8 * i)) % GAME.claimDataLen();
        }
        try GAME.settle(indices, count % 3) returns (uint256 some) {
            done[2] += some;
        } catch {}
    }

    function settle(uint256 seed, uint256 count) external {
        try GAME.resolveClaim(seed % GAME.claimDataLen(), count % 3) {
            ++done[2];
        } catch {}
    }

    /// @dev Seldom, for it ends the game.
    function settleAll(uint256 seed) external {
        if (seed % 8 != 0) return;
        skip(GAME.maxClockDuration().raw());
        if (seed % 16 == 0) {
            for (uint256 i = GAME.claimDataLen(); i > 0; --i) {
                try GAME.resolveClaim(i - 1, 0) {} catch {}
            }
            try GAME.resolve() {} catch {}
            return;
        }
        uint256[] memory indices = new uint256[](GAME.claimDataLen());
        for (uint256 i = 0; i < indices.length; ++i) {
            indices[i] = indices.length - 1 - i;
        }
        try GAME.settle(indices, 0) {} catch {}
    }

    function close(bool isProper) external {
        REGISTRY.setFinal(GAME.resolvedAt().raw() != 0);
        REGISTRY.setProper(isProper);
        try GAME.closeGame() {} catch {}
    }

    /// @notice Everyone who can be owed something: three players, the proposer, the treasury.
    function recipient(uint256 who) public view returns (address) {
        if (who < 3) return players[who];
        return who == 3 ? GAME.gameCreator() : TREASURY;
    }

    function claimCredit(uint256 who) external {
        address player = recipient(who % 5);
        uint256 before = player.balance;
        try GAME.claimCredit(player) {
            if (player.balance > before) ++done[3];
        } catch {}
        paidOut += player.balance - before;
    }
}

/// @notice What holds of the money at every moment of a game, whatever is done to it.
abstract contract MoneyInvariants is GameFixture {
    uint16 internal constant FORFEITED_BPS = 2_000;
    Players internal players;

    /// @dev A fifth of each lost bond goes to a treasury.
    function terms() internal pure virtual override returns (BondTerms memory chosen) {
        chosen = publishedTerms(FORFEITED_BPS);
        chosen.forfeitedTo = address(0x7ea5);
    }

    function setUp() public override {
        super.setUp();
        propose(lie(0));
        players = new Players(game, weth, alphabet, registry);
    }

    /// @notice The players succeed in what they are allowed to do. If every move reverted, the invariants would hold of
    /// an empty game and test nothing.
    function test_playersCanDoEverything() public {
        players.move(0, 0, true, 1);
        while (players.claimAt(game.claimDataLen() - 1).position.depth() < D) players.dig(1, 0);
        players.step(2, 0);
        players.wait(40_000);
        skip(CLOCK);
        players.settle(game.claimDataLen() - 1, 0);
        players.settleAll(0);
        players.close(true);
        for (uint256 i = 0; i < 2; ++i) {
            for (uint256 who = 0; who < 5; ++who) {
                players.claimCredit(who);
            }
            skip(WETH_DELAY);
        }
        for (uint256 kind = 0; kind < 4; ++kind) {
            vm.assertGt(players.done(kind), 0);
        }
        vm.assertEq(weth.balanceOf(address(game)), 0);
        vm.assertEq(address(game).balance, 0);
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(players);
    }

    function sums() internal view returns (uint256 bonds, uint256 settled, uint256 normal, uint256 refund) {
        for (uint256 i = 0; i < game.claimDataLen(); ++i) {
            uint256 bond = claimAt(i).bond;
            bonds += bond;
            if (game.resolvedSubgames(i)) settled += bond;
        }
        for (uint256 i = 0; i < 5; ++i) {
            address player = players.recipient(i);
            normal += game.normalModeCredit(player);
            refund += game.refundModeCredit(player);
        }
    }

    /// @notice Every bond is with the game or in the vault until it is paid out, to the wei. What else came to the game stays.
    function invariant_everyBondIsThere() public view {
        (uint256 bonds,,,) = sums();
        uint256 held = address(game).balance + weth.balanceOf(address(game));
        vm.assertEq(held + players.paidOut(), bonds + players.stray());
        vm.assertEq(weth.totalSupply(), weth.balanceOf(address(game)));
    }

    /// @notice Nothing is announced, and so nothing paid, that is not in the vault, where its owner can hold it: of a closed
    ///         game all credits are there, and of an open one nothing is announced.
    function invariant_whatIsAnnouncedIsInTheVault() public view {
        (uint256 announced, uint256 credits) = (0, 0);
        for (uint256 i = 0; i < 5; ++i) {
            (uint256 amount,) = weth.withdrawals(address(game), players.recipient(i));
            announced += amount;
            credits += game.credit(players.recipient(i));
        }
        if (game.bondDistributionMode() == BondDistributionMode.UNDECIDED) return vm.assertEq(announced, 0);
        vm.assertLe(announced, credits);
        vm.assertLe(credits, weth.balanceOf(address(game)));
    }

    /// @notice Both ledgers add up: paid in, one; settled, the other; less what was taken out.
    function invariant_theLedgersAddUp() public view {
        (uint256 bonds, uint256 settled, uint256 normal, uint256 refund) = sums();
        BondDistributionMode mode = game.bondDistributionMode();
        if (mode == BondDistributionMode.REFUND) {
            vm.assertEq(refund + players.paidOut(), bonds);
        } else {
            vm.assertEq(normal + players.paidOut(), settled);
        }
        if (mode == BondDistributionMode.UNDECIDED) {
            vm.assertEq(players.paidOut(), 0);
            vm.assertEq(refund, bonds);
        }
    }

    /// @notice The treasury gets its part of each lost bond, to the wei, whichever account countered the claim; and
    ///      nothing else.
    function invariant_everyLostBondPaysItsPart() public view {
        uint256 forfeited = 0;
        for (uint256 i = 0; i < game.claimDataLen(); ++i) {
            ClaimData memory c = claimAt(i);
            // A step that comes after a claim was settled changes who countered it, not where its bond went.
            bool isLateStep = c.position.depth() == D && players.isSteppedLate(i);
            if (game.resolvedSubgames(i) && c.counteredBy != address(0) && !isLateStep) {
                forfeited += uint256(c.bond) * FORFEITED_BPS / 10_000;
            }
        }
        address treasury = players.TREASURY();
        BondDistributionMode mode = game.bondDistributionMode();
        uint256 got = treasury.balance;
        if (mode == BondDistributionMode.REFUND) vm.assertEq(got, 0);
        else vm.assertEq(got + game.normalModeCredit(treasury), forfeited);
        vm.assertEq(game.refundModeCredit(treasury), 0);
    }
}

/// @notice A game that keeps its bonds until it is closed.
contract GameInvariantsTest is MoneyInvariants {
    /// @notice Claims form a tree in the game's positions: each one level below an earlier one.
    function invariant_claimsFormATree() public view {
        for (uint256 i = 1; i < game.claimDataLen(); ++i) {
            ClaimData memory c = claimAt(i);
            vm.assertLt(c.parentIndex, i);
            ClaimData memory parent = claimAt(c.parentIndex);
            vm.assertEq(c.position.depth(), parent.position.depth() + 1);
            vm.assertLe(c.position.depth(), D);
            vm.assertEq(c.position.raw() % 2, 0);
            vm.assertEq(c.bond, game.getRequiredBond(c.position));
            vm.assertLe(c.clock.duration().raw(), CLOCK - EXTENSION);
        }
    }

    /// @notice A claim is settled after all its answers, and the game after its root.
    function invariant_settledFromTheBottom() public view {
        for (uint256 i = 1; i < game.claimDataLen(); ++i) {
            if (game.resolvedSubgames(claimAt(i).parentIndex)) vm.assertTrue(game.resolvedSubgames(i));
        }
        bool isOver = game.status() != GameStatus.IN_PROGRESS;
        vm.assertEq(isOver, game.resolvedAt().raw() != 0);
        if (isOver) {
            vm.assertTrue(game.resolvedSubgames(0));
            vm.assertEq(claimAt(0).counteredBy == address(0), game.status() == GameStatus.DEFENDER_WINS);
        }
        if (game.bondDistributionMode() != BondDistributionMode.UNDECIDED) vm.assertTrue(isOver);
    }
}

/// @notice A game that puts each bond into the vault at once.
contract DepositedAtOnceInvariantsTest is MoneyInvariants {
    function terms() internal pure override returns (BondTerms memory chosen) {
        chosen = super.terms();
        chosen.depositedAtOnce = true;
    }

    /// @notice The vault holds every bond until it is paid out; the game itself holds at most what came by mistake.
    function invariant_theVaultHoldsTheBonds() public view {
        (uint256 bonds,,,) = sums();
        vm.assertLe(bonds, weth.balanceOf(address(game)) + players.paidOut());
        vm.assertLe(address(game).balance, players.stray());
    }
}

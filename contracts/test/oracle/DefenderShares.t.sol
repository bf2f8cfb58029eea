// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {OracleFixture} from "./helpers/OracleFixture.sol";
import {GreedyDefender, ProudProposer} from "./helpers/Consumers.sol";
import {BondTerms, BURN_ADDRESS} from "../../src/dispute/Bond.sol";
import {Claim, claimOf} from "../../src/dispute/Claim.sol";
import {FaultDisputeGame} from "../../src/dispute/FaultDisputeGame.sol";
import {Position} from "../../src/dispute/Position.sol";
import {RequestId} from "../../src/dispute/RequestId.sol";
import {Duration} from "../../src/dispute/Time.sol";
import {BondDistributionMode, GameLimits, GameStatus} from "../../src/dispute/Types.sol";
import {IFaultDisputeGame} from "../../src/dispute/interfaces/IFaultDisputeGame.sol";
import {ArenaRoot} from "../../src/oracle/SectionRoot.sol";
import {IDefenderShares} from "../../src/oracle/interfaces/IDefenderShares.sol";
import {IInferenceOracle, RequestTerms} from "../../src/oracle/interfaces/IInferenceOracle.sol";

/// @notice A part of a fee goes to those who countered the claims that fell in the game which delivered, and it pays no account
///         to counter its own.
contract DefenderSharesTest is OracleFixture {
    uint16 internal constant BPS = 2_000;
    uint256 internal constant FEE = 100 ether;
    uint256 internal constant LEVELS = 4; // the sample model's split depth: claims above it need no status byte
    address internal immutable DEFENDER = makeAddr("defender");
    address internal immutable OTHER = makeAddr("other");

    IDefenderShares internal shares;

    function setUp() public override {
        super.setUp();
        shares = oracle.defenderShares();
        vm.deal(DEFENDER, 1e5 ether);
        vm.deal(OTHER, 1e5 ether);
    }

    function askWith(uint256 fee, uint16 defendersBps) internal returns (RequestId) {
        vm.prank(REQUESTER);
        return oracle.request{value: fee}(modelId, input, RequestTerms(address(0), 0, false, 0, defendersBps));
    }

    function answer(address who, FaultDisputeGame game, uint256 parent, bool isAttack) internal returns (uint256) {
        (,,,, Claim disputed, Position position,) = game.claimData(parent);
        uint256 bond = game.getRequiredBond(position.move(isAttack));
        uint256 index = game.claimDataLen();
        vm.prank(who);
        game.move{value: bond}(disputed, parent, Claim.wrap(keccak256(abi.encode("a claim", index))), isAttack);
        return index;
    }

    /// @dev A right answer that CHALLENGER attacks and DEFENDER defends, final.
    function defended(RequestId id) internal returns (FaultDisputeGame game) {
        game = proposeTruth(id);
        answer(DEFENDER, game, answer(CHALLENGER, game, 0, true), true);
        survive(game);
    }

    function deliver(RequestId id, FaultDisputeGame game) internal {
        oracle.finalize(id, game, output, ArenaRoot.wrap(ARENA));
    }

    function listOf(uint256 index) internal pure returns (uint256[] memory list) {
        list = new uint256[](1);
        list[0] = index;
    }

    function allOf(FaultDisputeGame game) internal view returns (uint256[] memory list) {
        list = new uint256[](game.claimDataLen());
        for (uint256 i = 0; i < list.length; ++i) {
            list[i] = i;
        }
    }

    // ---------------------------------------------------------------- terms

    function test_theShareIsAPartOfTheRequest() public {
        RequestId id = askWith(FEE, BPS);
        vm.assertEq(oracle.requests(id).defendersBps, BPS);
        vm.assertEq(shares.oracle(), address(oracle));
        uint256 before = vm.snapshotState();
        RequestId one = askWith(FEE, 1);
        vm.revertToState(before);
        RequestId two = askWith(FEE, 2);
        vm.assertNotEq(RequestId.unwrap(one), RequestId.unwrap(two));
    }

    function test_atMostHalfOfAFeeIsShared() public {
        askWith(FEE, 5_000);
        RequestTerms memory terms_ = RequestTerms(address(0), 0, false, 0, 5_001);
        bytes memory why =
            abi.encodeWithSelector(IInferenceOracle.DefendersBpsTooHigh.selector, uint16(5_001), uint16(5_000));
        vm.expectRevert(why);
        oracle.request(modelId, input, terms_);
        vm.expectRevert(why);
        oracle.requestBatch(modelId, bytes.concat(input, input), 2, terms_);
    }

    // ---------------------------------------------------------------- delivering

    function test_withoutALostClaimTheProposerGetsAll() public {
        RequestId id = askWith(FEE, BPS);
        FaultDisputeGame game = proposeTruth(id);
        survive(game);
        uint256 before = PROPOSER.balance;
        deliver(id, game);
        vm.assertEq(PROPOSER.balance - before, FEE);
        vm.assertEq(address(shares).balance, 0);
        vm.assertEq(uint256(game.bondDistributionMode()), uint256(BondDistributionMode.UNDECIDED));
        vm.expectRevert(abi.encodeWithSelector(IDefenderShares.NoShare.selector, game));
        shares.pay(game, PROPOSER, listOf(0));
    }

    function test_withoutTheTermADefenceIsPaidByItsBondAlone() public {
        RequestId id = askWith(FEE, 0);
        FaultDisputeGame game = defended(id);
        uint256 before = PROPOSER.balance;
        deliver(id, game);
        vm.assertEq(PROPOSER.balance - before, FEE);
        vm.assertEq(shares.shareOf(game), 0);
    }

    /// @notice A fee that could pay more than half of what the liar forfeited pays that half.
    function test_aLargeFeePaysHalfOfWhatWasForfeited() public {
        RequestId id = askWith(FEE, BPS);
        FaultDisputeGame game = defended(id);
        (address by, uint256 lost) = game.forfeitOf(1);
        vm.assertEq(by, DEFENDER);
        vm.assertEq(game.totalForfeited(), lost);
        vm.assertLt(lost / 2, FEE * BPS / 10_000);
        vm.expectEmit(address(shares));
        emit IDefenderShares.ShareBooked(game, lost / 2);
        vm.expectEmit(address(oracle));
        emit IInferenceOracle.FeePaid(id, PROPOSER, FEE - lost / 2);
        uint256 before = PROPOSER.balance;
        deliver(id, game);
        vm.assertEq(PROPOSER.balance - before, FEE - lost / 2);
        before = DEFENDER.balance;
        vm.expectEmit(address(shares));
        emit IDefenderShares.SharePaid(game, DEFENDER, lost, lost / 2);
        vm.assertEq(shares.pay(game, DEFENDER, listOf(1)), lost / 2);
        vm.assertEq(DEFENDER.balance - before, lost / 2);
        vm.assertEq(address(shares).balance, 0);
        vm.assertEq(address(oracle).balance, 0);
    }

    function test_aSmallFeePaysItsPart() public {
        uint256 fee = 0.01 ether;
        RequestId id = askWith(fee, BPS);
        FaultDisputeGame game = defended(id);
        uint256 before = PROPOSER.balance;
        deliver(id, game);
        vm.assertEq(PROPOSER.balance - before, fee * 8 / 10);
        vm.assertEq(shares.pay(game, DEFENDER, listOf(1)), fee * 2 / 10);
    }

    function test_theSmallestPartIsShared() public {
        RequestId id = askWith(FEE, 1);
        FaultDisputeGame game = defended(id);
        deliver(id, game);
        vm.assertEq(shares.shareOf(game), FEE / 10_000);
    }

    /// @notice The account that proposed first pays the share of the game that delivers.
    function test_theFirstProposerPaysTheShareOfTheGameThatDelivers() public {
        RequestId id = askWith(FEE, BPS);
        FaultDisputeGame first = proposeTruth(id);
        Claim right = first.rootClaim();
        vm.prank(OTHER);
        FaultDisputeGame game =
            FaultDisputeGame(payable(address(factory.create{value: INIT_BOND}(CANNON, right, abi.encode(id, 7)))));
        answer(DEFENDER, game, answer(CHALLENGER, game, 0, true), true);
        survive(game);
        uint256 before = PROPOSER.balance;
        deliver(id, game);
        vm.assertEq(PROPOSER.balance - before, FEE - game.totalForfeited() / 2);
        vm.assertEq(shares.shareOf(first), 0);
    }

    /// @notice Without a forfeited part nothing is lost that a share could be measured by.
    function test_withoutAForfeitedPartNoShareIsKept() public {
        implementation = new FaultDisputeGame(
            GameLimits(90, 64, Duration.wrap(10_800), Duration.wrap(CLOCK)),
            BondTerms(200 gwei, 400_000, 300_000_000, 0, BURN_ADDRESS, false)
        );
        bytes memory arguments = gameArgs(oracle);
        vm.prank(OWNER);
        factory.setImplementation(CANNON, implementation, arguments);
        RequestId id = askWith(FEE, BPS);
        FaultDisputeGame game = defended(id);
        uint256 before = PROPOSER.balance;
        deliver(id, game);
        vm.assertEq(PROPOSER.balance - before, FEE);
    }

    /// @notice The losers pay what their winners get: so the delivery decides that the bonds are lost, and discarding the game
    ///         later gives none of them back.
    function test_aGameThatDeliversAShareIsClosed() public {
        RequestId id = askWith(FEE, BPS);
        FaultDisputeGame game = defended(id);
        deliver(id, game);
        vm.assertEq(uint256(game.bondDistributionMode()), uint256(BondDistributionMode.NORMAL));
        vm.prank(GUARDIAN);
        oracle.blacklistDisputeGame(game);
        vm.assertEq(game.credit(CHALLENGER), 0);
        vm.assertGt(shares.pay(game, DEFENDER, listOf(1)), 0);
    }

    // ---------------------------------------------------------------- booking

    function test_book_onlyByTheOracleAndOnlyWhatTheGameAllows() public {
        FaultDisputeGame game = defended(askWith(FEE, BPS));
        uint256 room = game.totalForfeited() / 2;
        vm.assertEq(shares.roomOf(game), room);
        vm.expectRevert(abi.encodeWithSelector(IDefenderShares.NotOracle.selector, address(this), address(oracle)));
        shares.book{value: 1}(game);
        vm.deal(address(oracle), 10 ether);
        vm.startPrank(address(oracle));
        vm.expectRevert(abi.encodeWithSelector(IDefenderShares.ShareTooLarge.selector, game, room + 1, room));
        shares.book{value: room + 1}(game);
        shares.book{value: 1}(game);
        vm.expectRevert(abi.encodeWithSelector(IDefenderShares.ShareTooLarge.selector, game, room, room - 1));
        shares.book{value: room}(game);
        shares.book{value: room - 1}(game);
        vm.assertEq(shares.roomOf(game), 0);
    }

    function test_book_notForAGameThatGivesAllBonds() public {
        FaultDisputeGame game = defended(askWith(FEE, BPS));
        vm.prank(GUARDIAN);
        oracle.blacklistDisputeGame(game);
        vm.deal(address(oracle), 1 ether);
        vm.prank(address(oracle));
        vm.expectRevert(abi.encodeWithSelector(IDefenderShares.GameRefunds.selector, game));
        shares.book{value: 1}(game);
    }

    // ---------------------------------------------------------------- paying

    function test_pay_eachClaimOnce() public {
        RequestId id = askWith(FEE, BPS);
        FaultDisputeGame game = proposeTruth(id);
        for (uint256 i = 0; i < 2; ++i) {
            answer(DEFENDER, game, answer(CHALLENGER, game, 0, true), true);
        }
        survive(game);
        deliver(id, game);
        uint256 whole = address(shares).balance;
        uint256[] memory twice = new uint256[](2);
        (twice[0], twice[1]) = (1, 1);
        vm.assertEq(shares.pay(game, DEFENDER, twice), whole / 2);
        vm.assertEq(shares.pay(game, DEFENDER, listOf(1)), 0);
        vm.assertEq(shares.pay(game, CHALLENGER, allOf(game)), 0); // it countered nothing, and takes no claim from others
        vm.assertEq(shares.pay(game, DEFENDER, allOf(game)), whole - whole / 2);
        vm.assertEq(shares.pay(game, DEFENDER, allOf(game)), 0);
        vm.assertEq(address(shares).balance, 0);
        vm.expectRevert(); // there is no claim 5
        shares.pay(game, DEFENDER, listOf(5));
    }

    /// @notice A game that the oracle never named is paid for nothing, whatever it says of itself.
    function test_pay_notForAGameThatIsNone() public {
        RequestId id = askWith(FEE, BPS);
        deliver(id, defended(id));
        IFaultDisputeGame liar = IFaultDisputeGame(address(new LyingGame()));
        vm.expectRevert(abi.encodeWithSelector(IDefenderShares.NoShare.selector, liar));
        shares.pay(liar, address(this), listOf(0));
    }

    function test_pay_onceWhateverTheRecipientDoes() public {
        RequestId id = askWith(FEE, BPS);
        GreedyDefender greedy = new GreedyDefender();
        FaultDisputeGame game = proposeTruth(id);
        uint256 attacked = answer(CHALLENGER, game, 0, true);
        answer(DEFENDER, game, answer(CHALLENGER, game, 0, true), true); // whose share must stay
        (,,,, Claim disputed, Position position,) = game.claimData(attacked);
        bytes memory call = abi.encodeCall(game.attack, (disputed, attacked, Claim.wrap("greed")));
        greedy.make{value: game.getRequiredBond(position.move(true))}(address(game), call);
        survive(game);
        deliver(id, game);
        uint256 whole = address(shares).balance;
        greedy.prepare(abi.encodeCall(shares.pay, (game, address(greedy), listOf(attacked))));
        shares.pay(game, address(greedy), listOf(attacked));
        vm.assertTrue(greedy.hasAsked());
        vm.assertEq(greedy.gained(), 0);
        vm.assertEq(address(greedy).balance, whole / 2);
        vm.assertEq(address(shares).balance, whole - whole / 2);
    }

    function test_pay_aDefenderThatRefusesIt() public {
        RequestId id = askWith(FEE, BPS);
        ProudProposer proud = new ProudProposer();
        FaultDisputeGame game = proposeTruth(id);
        uint256 attacked = answer(CHALLENGER, game, 0, true);
        vm.deal(address(proud), 1e5 ether);
        answer(address(proud), game, attacked, true);
        survive(game);
        deliver(id, game);
        (uint256 before, uint256 whole) = (address(proud).balance, address(shares).balance);
        vm.assertEq(shares.pay(game, address(proud), listOf(attacked)), whole);
        vm.assertEq(address(proud).balance - before, whole);
    }

    // ---------------------------------------------------------------- what cannot be won

    /// @dev A tree of claims above the split depth, by three accounts, in which the root claim stands.
    function randomGame(RequestId id, uint256 seed, address[3] memory players)
        internal
        returns (FaultDisputeGame game)
    {
        game = proposeTruth(id);
        uint256 moves = 1 + seed % 9;
        for (uint256 i = 0; i < moves; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            uint256 parent = (seed >> 8) % game.claimDataLen();
            (,,,,, Position at,) = game.claimData(parent);
            if (at.depth() >= LEVELS - 1) continue;
            answer(players[(seed >> 64) % 3], game, parent, parent == 0 || (seed >> 128) % 4 != 0);
        }
        // From the newest: what has an answer that stands falls. Attacks on the root claim that stand are countered.
        uint256 count = game.claimDataLen();
        bool[] memory falls = new bool[](count);
        for (uint256 i = count - 1; i > 0; --i) {
            (uint32 parent,,,,,,) = game.claimData(i);
            if (falls[i]) continue;
            if (parent == 0) answer(players[(seed >> (i + 1)) % 3], game, i, true);
            else falls[parent] = true;
        }
        survive(game);
        vm.assertEq(uint256(game.status()), uint256(GameStatus.DEFENDER_WINS));
    }

    /// @dev What an account has in the end: its balance, its credit of the game, and its share, which is paid.
    function endOf(address who, FaultDisputeGame game) internal returns (uint256) {
        if (shares.shareOf(game) != 0) shares.pay(game, who, allOf(game));
        return who.balance + game.credit(who);
    }

    /// @notice An owner of several accounts that attacks its own proposal and defends it, with any claims and any share, ends
    ///         with less than if it had let it be: it loses what is forfeited, and is given nothing that is not its own.
    function testFuzz_playingAgainstItselfNeverPays(uint256 seed, uint256 fee, uint16 bps) public {
        fee = bound(fee, 1, 1_000 ether);
        RequestId id = askWith(fee, uint16(bound(bps, 1, 5_000)));
        address[3] memory own = [PROPOSER, DEFENDER, OTHER];
        uint256 before = PROPOSER.balance + DEFENDER.balance + OTHER.balance;
        FaultDisputeGame game = randomGame(id, seed, own);
        deliver(id, game);
        uint256 afterwards = 0;
        for (uint256 i = 0; i < 3; ++i) {
            afterwards += endOf(own[i], game);
        }
        uint256 dust = address(shares).balance;
        vm.assertLt(dust, 3); // each account's reward is rounded down
        vm.assertEq(afterwards + game.totalForfeited() + dust, before + fee);
    }

    /// @notice The same owner against another's proposal loses half of what it forfeits at least, and never less than what
    ///         the proposer has to give up.
    function testFuzz_playingAgainstAnothersProposalNeverPays(uint256 seed, uint256 fee, uint16 bps) public {
        fee = bound(fee, 1, 1_000 ether);
        RequestId id = askWith(fee, uint16(bound(bps, 1, 5_000)));
        address[3] memory own = [CHALLENGER, DEFENDER, OTHER];
        uint256 before = CHALLENGER.balance + DEFENDER.balance + OTHER.balance;
        uint256 proposers = PROPOSER.balance;
        FaultDisputeGame game = randomGame(id, seed, own);
        deliver(id, game);
        uint256 afterwards = 0;
        for (uint256 i = 0; i < 3; ++i) {
            afterwards += endOf(own[i], game);
        }
        uint256 forfeited = game.totalForfeited();
        vm.assertGe(before - afterwards, forfeited - forfeited / 2);
        uint256 givenUp = proposers + fee - endOf(PROPOSER, game);
        vm.assertLe(givenUp, before - afterwards);
    }

    /// @notice No account is rewarded with more than half of what it made others forfeit, the rewards add up to the share, and
    ///         the share to what the proposer did not get.
    function testFuzz_rewardsAreHalfOfWhatWasForfeitedAtMost(uint256 seed, uint256 fee, uint16 bps) public {
        fee = bound(fee, 1, 1_000 ether);
        bps = uint16(bound(bps, 0, 5_000));
        RequestId id = askWith(fee, bps);
        address[3] memory all = [CHALLENGER, DEFENDER, OTHER];
        FaultDisputeGame game = randomGame(id, seed, all);
        uint256 proposers = PROPOSER.balance;
        deliver(id, game);
        uint256 share = shares.shareOf(game);
        vm.assertEq(PROPOSER.balance, proposers + fee - share);
        vm.assertLe(share, fee * bps / 10_000);
        if (share == 0) return;
        uint256 paid = 0;
        for (uint256 i = 0; i < 3; ++i) {
            uint256 lost = 0;
            for (uint256 index = 0; index < game.claimDataLen(); ++index) {
                (address by, uint256 forfeited) = game.forfeitOf(index);
                if (by == all[i]) lost += forfeited;
            }
            uint256 reward = shares.pay(game, all[i], allOf(game));
            vm.assertLe(reward, lost / 2);
            paid += reward;
        }
        vm.assertLe(paid, share);
        vm.assertLt(share - paid, 3);
        vm.assertEq(address(shares).balance, share - paid);
    }

    /// @notice An account that lets claims of its own fall beside an honest defence, to have a part of its share, loses no less
    ///         than all others together.
    function testFuzz_dilutingAShareCostsWhatItTakes(uint256 seed, uint256 fee, uint16 bps) public {
        fee = bound(fee, 1, 1 ether);
        RequestId id = askWith(fee, uint16(bound(bps, 1, 5_000)));
        uint256[2] memory others;
        uint256[2] memory own;
        uint256 start = vm.snapshotState();
        for (uint256 diluted = 0; diluted < 2; ++diluted) {
            FaultDisputeGame game = proposeTruth(id);
            answer(DEFENDER, game, answer(CHALLENGER, game, 0, true), true);
            for (uint256 i = 0; i < diluted * (1 + seed % 4); ++i) {
                uint256 bait = answer(OTHER, game, 0, true);
                if (seed >> i & 1 == 1) bait = answer(OTHER, game, answer(OTHER, game, bait, true), true);
                answer(OTHER, game, bait, true);
            }
            survive(game);
            deliver(id, game);
            others[diluted] = endOf(PROPOSER, game) + endOf(DEFENDER, game) + endOf(CHALLENGER, game);
            own[diluted] = endOf(OTHER, game);
            if (diluted == 0) vm.revertToState(start);
        }
        uint256 loss = own[0] - own[1];
        vm.assertGt(loss, 0);
        vm.assertLe(others[0], others[1] + loss);
    }
}

/// @notice A contract that says of itself what a thief would like to be true.
contract LyingGame {
    function forfeitOf(uint256) external view returns (address, uint256) {
        return (msg.sender, 1 ether);
    }

    function totalForfeited() external pure returns (uint256) {
        return 1;
    }
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {OracleFixture} from "./helpers/OracleFixture.sol";
import {Test} from "../Test.sol";
import {DisputeGameFactory} from "../../src/dispute/DisputeGameFactory.sol";
import {FaultDisputeGame} from "../../src/dispute/FaultDisputeGame.sol";
import {Position} from "../../src/dispute/Position.sol";
import {BondDistributionMode, GameStatus} from "../../src/dispute/Types.sol";
import {IDisputeGame} from "../../src/dispute/interfaces/IDisputeGame.sol";
import {InferenceOracle} from "../../src/oracle/InferenceOracle.sol";
import {RequestTerms} from "../../src/oracle/interfaces/IInferenceOracle.sol";
import {IDefenderShares} from "../../src/oracle/interfaces/IDefenderShares.sol";
import {IProposerBonds} from "../../src/oracle/interfaces/IProposerBonds.sol";
import {Claim, claimOf} from "../../src/dispute/Claim.sol";
import {RequestId} from "../../src/dispute/RequestId.sol";
import {ArenaRoot} from "../../src/oracle/SectionRoot.sol";

/// @notice Proposers of one right and one wrong answer, who commit, copy, attack, let fall and deliver in any order; a guardian
///         that discards and pauses when it likes; and other accounts that try what only owner and guardian may.
contract Proposers is Test {
    InferenceOracle internal immutable ORACLE;
    IProposerBonds internal immutable BONDS;
    IDefenderShares internal immutable SHARES;
    DisputeGameFactory internal immutable FACTORY;
    RequestId public immutable ID;
    Claim public immutable RIGHT;
    bytes internal output;
    address internal immutable GUARDIAN;
    address internal immutable OWNER;

    address[3] public who;
    FaultDisputeGame[] public games;
    /// @notice Since which block a game counts: worked out here, from what was done.
    mapping(FaultDisputeGame => uint256) public since;
    mapping(address => mapping(Claim root => mapping(uint256 nonce => uint256))) internal committed;
    /// @dev Seeds and nonces of commitments, in order: what is proposed is often one of them.
    uint256[2][] internal commitments;

    /// @notice What the fee of the request went to, and from which game's delivery.
    address public paid;
    /// @notice The games recorded first, when the fee was paid.
    IDisputeGame public firstAtDelivery;
    FaultDisputeGame public deliveredBy;
    mapping(FaultDisputeGame => bool) public isReleased;
    mapping(FaultDisputeGame => uint256) public sharesPaid;

    constructor(InferenceOracle oracle, DisputeGameFactory factory, RequestId id, bytes memory output_, Claim right) {
        (ORACLE, FACTORY, ID, RIGHT, output) = (oracle, factory, id, right, output_);
        (GUARDIAN, OWNER) = (oracle.guardian(), oracle.owner());
        BONDS = oracle.proposerBonds();
        SHARES = oracle.defenderShares();
        who = [makeAddr("ann"), makeAddr("ben"), makeAddr("mallory")];
        for (uint256 i = 0; i < 3; ++i) {
            vm.deal(who[i], 1e6 ether);
            vm.prank(who[i]);
            BONDS.deposit{value: 7 ether}();
        }
    }

    function count() external view returns (uint256) {
        return games.length;
    }

    function rootOf(uint256 seed) internal view returns (Claim) {
        return seed % 4 == 0 ? Claim.wrap("a lie") : RIGHT;
    }

    function tick(uint256 blocks) external {
        blocks = bound(blocks, 1, 300);
        vm.roll(block.number + blocks);
        skip(12 * blocks);
    }

    function wait(uint256 seconds_) external {
        skip(bound(seconds_, 1, 200_000));
    }

    function commit(uint256 seed, uint256 nonce) external {
        (address proposer, Claim root) = (who[seed % 3], rootOf(seed / 3));
        nonce %= 4;
        commitments.push([seed, nonce]);
        ORACLE.commit(ORACLE.commitmentOf(ID, root, bytes32(nonce), proposer));
        uint256 earlier = committed[proposer][root][nonce];
        if (earlier == 0 || block.number - earlier > 256) committed[proposer][root][nonce] = block.number;
    }

    function propose(uint256 seed, uint256 nonce) external {
        if (commitments.length != 0 && nonce % 8 > 2) {
            (seed, nonce) = (commitments[seed % commitments.length][0], commitments[seed % commitments.length][1]);
        }
        (address proposer, Claim root) = (who[seed % 3], rootOf(seed / 3));
        nonce %= 4;
        bytes memory extraData = nonce == 0 ? abi.encode(ID) : abi.encode(ID, nonce);
        uint256 bond = FACTORY.initBonds(0);
        vm.prank(proposer);
        try FACTORY.create{value: bond}(0, root, extraData) returns (IDisputeGame made) {
            FaultDisputeGame game = FaultDisputeGame(payable(address(made)));
            games.push(game);
            uint256 at = committed[proposer][root][nonce];
            since[game] = at != 0 && block.number - at <= 256 ? at : block.number;
        } catch {}
    }

    function attack(uint256 seed, uint256 index) external {
        if (games.length == 0) return;
        FaultDisputeGame game = games[index % games.length];
        Claim root = game.rootClaim();
        uint256 bond = game.getRequiredBond(Position.wrap(2));
        vm.prank(who[seed % 3]);
        try game.attack{value: bond}(root, 0, Claim.wrap(bytes32(seed))) {} catch {}
    }

    /// @notice Attacks a claim below the root claim.
    function counter(uint256 seed, uint256 index) external {
        if (games.length == 0) return;
        FaultDisputeGame game = games[index % games.length];
        uint256 parent = seed % game.claimDataLen();
        (,,,, Claim disputed, Position position,) = game.claimData(parent);
        if (position.depth() > 2) return;
        uint256 bond = game.getRequiredBond(position.move(true));
        vm.prank(who[seed % 3]);
        try game.attack{value: bond}(disputed, parent, Claim.wrap(bytes32(seed))) {} catch {}
    }

    /// @notice Pays an account its share of a game's, for some of the claims or for all.
    function payShare(uint256 seed, uint256 index) external {
        if (games.length == 0) return;
        FaultDisputeGame game = games[index % games.length];
        uint256[] memory indices = new uint256[](game.claimDataLen());
        for (uint256 i = 0; i < indices.length; ++i) {
            indices[i] = seed % 2 == 0 ? i : (seed >> i) % indices.length;
        }
        address recipient = who[seed % 3];
        uint256 before = recipient.balance;
        try SHARES.pay(game, recipient, indices) returns (uint256 amount) {
            vm.assertEq(recipient.balance, before + amount);
            sharesPaid[game] += amount;
        } catch {
            vm.assertEq(SHARES.shareOf(game), 0);
        }
    }

    function settle(uint256 index) external {
        if (games.length == 0) return;
        FaultDisputeGame game = games[index % games.length];
        uint256[] memory indices = new uint256[](game.claimDataLen());
        for (uint256 i = 0; i < indices.length; ++i) {
            indices[i] = indices.length - 1 - i;
        }
        try game.settle(indices, 0) {} catch {}
    }

    function deliver(uint256 index) external {
        if (games.length == 0) return;
        FaultDisputeGame game = games[index % games.length];
        (IDisputeGame first,) = ORACLE.firstProposal(ID, game.rootClaim());
        uint256 fee = ORACLE.requests(ID).fee;
        uint256[3] memory before = [who[0].balance, who[1].balance, who[2].balance];
        try ORACLE.finalize(ID, game, output, ArenaRoot.wrap("arena")) {
            deliveredBy = game;
            firstAtDelivery = first;
            for (uint256 i = 0; i < 3; ++i) {
                if (who[i].balance == before[i]) continue;
                paid = who[i];
                vm.assertEq(who[i].balance - before[i], fee - SHARES.shareOf(game));
            }
        } catch {}
    }

    function deposit(uint256 seed, uint256 amount) external {
        vm.prank(who[seed % 3]);
        BONDS.deposit{value: bound(amount, 0, 9 ether)}();
    }

    function withdraw(uint256 seed, uint256 amount) external {
        amount = bound(amount, 0, 9 ether);
        address proposer = who[seed % 3];
        uint256 found = BONDS.depositOf(proposer);
        uint256 before = proposer.balance;
        vm.prank(proposer);
        try BONDS.withdraw(amount) {
            vm.assertEq(proposer.balance, before + amount);
        } catch {
            vm.assertLt(found, amount);
        }
    }

    /// @notice Pays out the bond of a game: all of it, to the accounts that the game's own bonds say.
    function release(uint256 index) external {
        if (games.length == 0) return;
        FaultDisputeGame game = games[index % games.length];
        (uint256 bond, address proposer) = (BONDS.bondOf(game), game.gameCreator());
        (uint256 before, uint256 whole) = (proposer.balance, address(BONDS).balance);
        try BONDS.release(game) {
            vm.assertFalse(isReleased[game]);
            isReleased[game] = true;
            vm.assertEq(whole - address(BONDS).balance, bond);
            bool isLost = game.status() == GameStatus.CHALLENGER_WINS
                && game.bondDistributionMode() == BondDistributionMode.NORMAL;
            if (!isLost) vm.assertEq(proposer.balance, before + bond);
        } catch {}
    }

    function restore(uint256 index) external {
        if (games.length == 0) return;
        try ORACLE.restoreProposal(games[index % games.length]) {} catch {}
    }

    function discard(uint256 seed) external {
        if (seed % 8 != 0 || games.length == 0) return;
        vm.startPrank(GUARDIAN);
        if (seed % 16 == 0) ORACLE.updateRetirementTimestamp();
        else ORACLE.blacklistDisputeGame(games[seed % games.length]);
        vm.stopPrank();
    }

    function pause(bool stop) external {
        vm.prank(GUARDIAN);
        try ORACLE.setPaused(stop) {} catch {}
    }

    /// @notice Only the guardian and the owner have their powers, nor either of them the other's.
    function usurp(uint256 seed) external {
        bool asOwner = seed % 2 == 0;
        vm.startPrank(seed % 3 == 0 ? who[seed % 3] : asOwner ? OWNER : GUARDIAN);
        uint256 tried = 0;
        if (asOwner || seed % 3 == 0) {
            try ORACLE.setPaused(true) {}
            catch {
                ++tried;
            }
            try ORACLE.updateRetirementTimestamp() {}
            catch {
                ++tried;
            }
            try ORACLE.blacklistDisputeGame(IDisputeGame(address(1))) {}
            catch {
                ++tried;
            }
            vm.assertEq(tried, 3);
        }
        tried = 0;
        if (!asOwner || seed % 3 == 0) {
            try ORACLE.setGuardian(address(this)) {}
            catch {
                ++tried;
            }
            try ORACLE.setRespectedGameType(7) {}
            catch {
                ++tried;
            }
            try ORACLE.transferOwnership(address(this)) {}
            catch {
                ++tried;
            }
            vm.assertEq(tried, 3);
        }
        vm.stopPrank();
    }
}

/// @notice What holds of requests, proposals and roles, whatever is done.
contract OracleInvariantsTest is OracleFixture {
    uint96 internal constant DEMANDED = 3 ether;

    Proposers internal proposers;
    RequestId internal id;

    function setUp() public override {
        super.setUp();
        vm.prank(REQUESTER);
        id = oracle.request{value: 1 ether}(modelId, input, RequestTerms(address(0), 0, false, DEMANDED, 2_000));
        proposers =
            new Proposers(oracle, factory, id, output, claimOf(oracle.finalRoot(id, output, ArenaRoot.wrap(ARENA))));
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(proposers);
    }

    /// @notice Everything that the handlers are there for can happen: else the invariants would hold because nothing did.
    function test_proposersCanDoEverything() public {
        proposers.commit(0, 1); // seed 0: who 0, a lie
        proposers.commit(3, 1); // who 0, the right answer
        proposers.tick(1);
        proposers.propose(4, 2); // who 1 is first to make a game of the right answer
        proposers.propose(3, 1); // but who 0 knew it before
        vm.assertEq(proposers.count(), 2);
        proposers.attack(5, 0);
        proposers.counter(1, 0); // claim 1 of game 0, by who 1
        skip(CLOCK);
        proposers.settle(0);
        skip(FINALITY_DELAY + 1);
        proposers.usurp(1);
        proposers.deliver(0);
        vm.assertEq(proposers.paid(), proposers.who(0));
        proposers.release(0);
        vm.assertTrue(proposers.isReleased(proposers.games(0)));
        proposers.payShare(4, 0);
        vm.assertGt(proposers.sharesPaid(proposers.games(0)), 0);
    }

    /// @notice Each game has locked what the request demands, until that is released; and what is deposited and locked is
    ///         there, to the last wei, as the fee is.
    function invariant_everyWeiOfDemandedBondsIsThere() public view {
        IProposerBonds bonds = oracle.proposerBonds();
        uint256 sum = 0;
        for (uint256 i = 0; i < 3; ++i) {
            sum += bonds.depositOf(proposers.who(i));
        }
        for (uint256 i = 0; i < proposers.count(); ++i) {
            FaultDisputeGame game = proposers.games(i);
            uint256 bond = bonds.bondOf(game);
            vm.assertEq(bond, proposers.isReleased(game) ? 0 : DEMANDED);
            sum += bond;
        }
        vm.assertEq(address(bonds).balance, sum);
        vm.assertEq(address(oracle).balance, oracle.requests(id).fee);
    }

    /// @notice What was kept of the fee for defenders is there until it is paid, is at most half of what their game's losers
    ///         forfeited, and is kept for the game that delivered alone.
    function invariant_everyWeiOfSharesIsThere() public view {
        IDefenderShares shares = oracle.defenderShares();
        uint256 sum = 0;
        for (uint256 i = 0; i < proposers.count(); ++i) {
            FaultDisputeGame game = proposers.games(i);
            uint256 share = shares.shareOf(game);
            if (address(game) != address(proposers.deliveredBy())) vm.assertEq(share, 0);
            vm.assertLe(2 * share, game.totalForfeited());
            vm.assertLe(proposers.sharesPaid(game), share);
            sum += share - proposers.sharesPaid(game);
        }
        vm.assertEq(address(shares).balance, sum);
    }

    /// @notice Of the games with one root claim that still stand, the recorded one counts from the earliest block; one that
    ///         was passed over when an earlier one stood, which fell since, can be restored.
    function invariant_theEarliestStandingProposalIsRecordedOrCanBe() public view {
        bool hasFee = oracle.requests(id).fee != 0;
        for (uint256 i = 0; i < proposers.count(); ++i) {
            FaultDisputeGame game = proposers.games(i);
            if (!hasFee) {
                vm.assertFalse(oracle.mayBeRestored(game));
                continue; // and nothing is recorded
            }
            (IDisputeGame first, uint64 since) = oracle.firstProposal(id, game.rootClaim());
            vm.assertEq(proposers.since(FaultDisputeGame(payable(address(first)))), since);
            bool isEarlier = since > proposers.since(game) || !stands(first);
            bool isAnother = address(game) != address(first);
            vm.assertEq(oracle.mayBeRestored(game), isAnother && isEarlier && stands(game));
        }
    }

    function stands(IDisputeGame game) internal view returns (bool) {
        return
            game.status() != GameStatus.CHALLENGER_WINS && !oracle.isGameBlacklisted(game)
                && !oracle.isGameRetired(game);
    }

    /// @notice The fee is paid once, out of a game that survived, to the first whose proposal still stood, or to the creator
    ///         of the game that delivers, if that was earlier.
    function invariant_theFeeIsTheFirstProposers() public view {
        FaultDisputeGame by = proposers.deliveredBy();
        vm.assertEq(address(oracle.requests(id).deliveredBy), address(by));
        vm.assertEq(oracle.requests(id).fee, address(by) == address(0) ? 1 ether : 0);
        if (address(by) == address(0)) return;
        vm.assertEq(by.rootClaim().raw(), proposers.RIGHT().raw());
        vm.assertEq(uint256(by.status()), uint256(GameStatus.DEFENDER_WINS));
        IDisputeGame first = proposers.firstAtDelivery();
        // Discarding comes after, so it can only be seen now that it did not stand then.
        if (!stands(first)) return;
        bool isByFirst = proposers.since(by) < proposers.since(FaultDisputeGame(payable(address(first))));
        vm.assertEq(proposers.paid(), (isByFirst ? by : first).gameCreator());
    }

    /// @notice A right answer can always be proposed (again): some nonce is free, and the game it makes is proper once no
    ///         pause and no retirement in the same second stands against it.
    function invariant_theRightAnswerCanBeProposed() public {
        uint256 before = vm.snapshotState();
        skip(2 * PAUSE_DURATION);
        bytes memory extraData = abi.encode(id, keccak256("fresh"));
        Claim right = proposers.RIGHT();
        vm.startPrank(PROPOSER);
        oracle.proposerBonds().deposit{value: DEMANDED}();
        IDisputeGame game = factory.create{value: INIT_BOND}(CANNON, right, extraData);
        vm.stopPrank();
        vm.assertTrue(oracle.isGameProper(game));
        vm.assertTrue(oracle.isGameRespected(game));
        vm.revertToState(before);
    }

    function invariant_rolesStay() public view {
        vm.assertEq(oracle.owner(), OWNER);
        vm.assertEq(oracle.guardian(), GUARDIAN);
        vm.assertEq(oracle.respectedGameType(), CANNON);
        vm.assertLe(oracle.pausedUntil().raw(), block.timestamp + PAUSE_DURATION);
    }

    /// @notice The vault covers the bonds of every game; none reaches into another's.
    function invariant_theVaultCoversEveryGame() public view {
        uint256 sum = 0;
        for (uint256 i = 0; i < proposers.count(); ++i) {
            sum += weth.balanceOf(address(proposers.games(i)));
        }
        vm.assertEq(weth.totalSupply(), sum);
    }
}

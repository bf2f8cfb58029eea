// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Test} from "../../Test.sol";
import {AlphabetOracle, AlphabetVm} from "./AlphabetVm.sol";
import {MockRegistry} from "./MockRegistry.sol";
import {BondTerms, BURN_ADDRESS} from "../../../src/dispute/Bond.sol";
import {Clock} from "../../../src/dispute/Clock.sol";
import {DelayedWETH} from "../../../src/dispute/DelayedWETH.sol";
import {DisputeGameFactory} from "../../../src/dispute/DisputeGameFactory.sol";
import {FaultDisputeGame} from "../../../src/dispute/FaultDisputeGame.sol";
import {Position} from "../../../src/dispute/Position.sol";
import {ClaimData} from "./ClaimData.sol";
import {GameLimits} from "../../../src/dispute/Types.sol";
import {Claim} from "../../../src/dispute/Claim.sol";
import {RequestId} from "../../../src/dispute/RequestId.sol";
import {Duration, Duration256} from "../../../src/dispute/Time.sol";
import {StateHash} from "../../../src/vm/StateHash.sol";

/// @title One game of the published example's size, S = 4 and D = 8, over twelve nodes, in the words of the game
abstract contract GameFixture is Test {
    uint64 internal constant EXTENSION = 10_800;
    uint64 internal constant CLOCK = 302_400;
    uint64 internal constant CHALLENGE_PERIOD = 4;
    uint64 internal constant S = 4;
    uint64 internal constant D = 8;
    uint64 internal constant NODES = 12;
    uint256 internal constant LEAVES_PER_TRACE = 2 ** (D - S - 1);
    uint32 internal constant CANNON = 0;
    uint256 internal constant INIT_BOND = 0.08 ether;
    uint256 internal constant WETH_DELAY = 604_800;
    uint256 internal constant CHAIN_ID = 901;
    RequestId internal constant REQUEST = RequestId.wrap(bytes32(uint256(0xcafe)));

    address internal immutable OWNER = makeAddr("owner");
    address internal immutable PROPOSER = makeAddr("proposer");
    address internal immutable CHALLENGER = makeAddr("challenger");

    AlphabetOracle internal oracle;
    AlphabetVm internal alphabet;
    MockRegistry internal registry;
    DisputeGameFactory internal factory;
    DelayedWETH internal weth;
    FaultDisputeGame internal implementation;
    FaultDisputeGame internal game;
    StateHash internal prestate;

    function setUp() public virtual {
        vm.warp(1_700_000_000);
        vm.roll(100);
        oracle = new AlphabetOracle(CHALLENGE_PERIOD);
        alphabet = new AlphabetVm(oracle, 6);
        alphabet.setTruth("truth", NODES);
        registry = new MockRegistry();
        registry.setParameters(alphabet.truth(0), NODES, S, D);
        factory = new DisputeGameFactory(OWNER);
        weth = new DelayedWETH(Duration256.wrap(WETH_DELAY), registry, OWNER);
        implementation = new FaultDisputeGame(limits(), terms());
        prestate = alphabet.commitment(alphabet.firstState());
        vm.startPrank(OWNER);
        factory.setImplementation(CANNON, implementation, gameArgs());
        factory.setInitBond(CANNON, INIT_BOND);
        vm.stopPrank();
        vm.deal(PROPOSER, 1e6 ether);
        vm.deal(CHALLENGER, 1e6 ether);
        vm.deal(address(this), 1e6 ether);
    }

    function limits() internal pure returns (GameLimits memory) {
        return GameLimits({
            maxGameDepth: 90,
            splitDepth: 64,
            clockExtension: Duration.wrap(EXTENSION),
            maxClockDuration: Duration.wrap(CLOCK)
        });
    }

    /// @notice The published game's bonds, of which winners get all.
    function terms() internal pure virtual returns (BondTerms memory) {
        return publishedTerms(0);
    }

    function publishedTerms(uint16 forfeitedBps) internal pure returns (BondTerms memory) {
        return BondTerms({
            assumedBaseFee: 200 gwei,
            gasAtRoot: 400_000,
            gasAtMaxDepth: 300_000_000,
            forfeitedBps: forfeitedBps,
            forfeitedTo: BURN_ADDRESS,
            depositedAtOnce: false
        });
    }

    function gameArgs() internal view returns (bytes memory) {
        return abi.encodePacked(prestate, address(alphabet), address(registry), address(weth), CHAIN_ID);
    }

    /// @notice A game of `PROPOSER`'s.
    function propose(Claim rootClaim) internal returns (FaultDisputeGame) {
        vm.prank(PROPOSER);
        game = FaultDisputeGame(
            payable(address(factory.create{value: INIT_BOND}(CANNON, rootClaim, abi.encode(REQUEST))))
        );
        return game;
    }

    /// @notice Attacks claim `index`, as this contract. Returns the new claim's index.
    function attack(uint256 index, Claim claim) internal returns (uint256) {
        return moveAs(address(this), index, claim, true);
    }

    /// @notice Defends claim `index`, as this contract. Returns the new claim's index.
    function defend(uint256 index, Claim claim) internal returns (uint256) {
        return moveAs(address(this), index, claim, false);
    }

    function moveAs(address who, uint256 index, Claim claim, bool isAttack) internal returns (uint256) {
        uint256 bond = bondOf(index, isAttack);
        Claim disputed = claimAt(index).claim;
        vm.prank(who);
        game.move{value: bond}(disputed, index, claim, isAttack);
        return game.claimDataLen() - 1;
    }

    /// @notice The bond of an answer to claim `index`.
    function bondOf(uint256 index, bool isAttack) internal view returns (uint256) {
        return game.getRequiredBond(claimAt(index).position.move(isAttack));
    }

    function claimAt(uint256 index) internal view returns (ClaimData memory c) {
        (c.parentIndex, c.counteredBy, c.claimant, c.bond, c.claim, c.position, c.clock) = game.claimData(index);
    }

    /// @notice A claim that says nothing true, told apart by `n`; its status byte is 1.
    function lie(uint256 n) internal pure returns (Claim) {
        return withStatus(Claim.wrap(keccak256(abi.encode("lie", n))), 1);
    }

    function withStatus(Claim claim, uint8 status) internal pure returns (Claim) {
        return Claim.wrap((claim.raw() & bytes32(type(uint256).max >> 8)) | bytes32(uint256(status) << 248));
    }

    /// @notice Attacks from the root claim down to depth `depth` with lies. Returns the deepest claim's index.
    function attackDownTo(uint256 depth) internal returns (uint256 index) {
        for (uint256 d = 1; d <= depth; ++d) {
            index = attack(index, lie(d));
        }
    }

    /// @notice Settles every claim, from the newest, and then the game.
    function resolveAll() internal {
        for (uint256 i = game.claimDataLen(); i > 0; --i) {
            if (!game.resolvedSubgames(i - 1)) game.resolveClaim(i - 1, 0);
        }
        game.resolve();
    }
}

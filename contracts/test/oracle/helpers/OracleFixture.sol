// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Test} from "../../Test.sol";
import {AlphabetOracle, AlphabetVm} from "../../dispute/helpers/AlphabetVm.sol";
import {SlowTree} from "./SlowTree.sol";
import {BondTerms, BURN_ADDRESS} from "../../../src/dispute/Bond.sol";
import {DelayedWETH} from "../../../src/dispute/DelayedWETH.sol";
import {DisputeGameFactory} from "../../../src/dispute/DisputeGameFactory.sol";
import {FaultDisputeGame} from "../../../src/dispute/FaultDisputeGame.sol";
import {GameLimits} from "../../../src/dispute/Types.sol";
import {InferenceOracle} from "../../../src/oracle/InferenceOracle.sol";
import {ModelRegistry} from "../../../src/oracle/ModelRegistry.sol";
import {RequestTerms} from "../../../src/oracle/interfaces/IInferenceOracle.sol";
import {Model} from "../../../src/oracle/interfaces/IModelRegistry.sol";
import {Claim, claimOf} from "../../../src/dispute/Claim.sol";
import {RequestId} from "../../../src/dispute/RequestId.sol";
import {StateHash} from "../../../src/vm/StateHash.sol";
import {ModelId} from "../../../src/oracle/ModelId.sol";
import {ArenaRoot, ModelRoot} from "../../../src/oracle/SectionRoot.sol";
import {Duration, Duration256} from "../../../src/dispute/Time.sol";

/// @title Everything but the VM as it is deployed, and one model of twelve nodes
abstract contract OracleFixture is Test {
    uint64 internal constant CLOCK = 302_400;
    uint256 internal constant FINALITY_DELAY = 302_400;
    uint256 internal constant RECLAIM_DELAY = 30 days;
    uint256 internal constant WETH_DELAY = 604_800;
    uint64 internal constant MAX_CALLBACK_GAS = 2_000_000;
    uint256 internal constant INIT_BOND = 0.08 ether;
    uint16 internal constant FORFEITED_BPS = 2_000;
    uint64 internal constant PAUSE_DURATION = 7 days;
    uint32 internal constant CANNON = 0;
    uint64 internal constant NODES = 12;
    uint64 internal constant INPUT_BYTES = 100;
    uint64 internal constant OUTPUT_BYTES = 40;
    bytes32 internal constant ARENA = "arena";

    address internal immutable GUARDIAN = makeAddr("guardian");
    address internal immutable OWNER = makeAddr("owner");
    address internal immutable PROPOSER = makeAddr("proposer");
    address internal immutable REQUESTER = makeAddr("requester");
    address internal immutable CHALLENGER = makeAddr("challenger");

    ModelRegistry internal models;
    DisputeGameFactory internal factory;
    InferenceOracle internal oracle;
    DelayedWETH internal weth;
    AlphabetVm internal alphabet;
    FaultDisputeGame internal implementation;
    ModelId internal modelId;
    bytes internal input;
    bytes internal output;

    function setUp() public virtual {
        vm.warp(1_700_000_000);
        vm.roll(100);
        models = new ModelRegistry();
        factory = new DisputeGameFactory(OWNER);
        oracle = newOracle();
        weth = new DelayedWETH(Duration256.wrap(WETH_DELAY), oracle, OWNER);
        alphabet = new AlphabetVm(new AlphabetOracle(4), 6);
        implementation = new FaultDisputeGame(
            GameLimits(90, 64, Duration.wrap(10_800), Duration.wrap(CLOCK)),
            BondTerms(200 gwei, 400_000, 300_000_000, FORFEITED_BPS, BURN_ADDRESS, false)
        );
        vm.startPrank(OWNER);
        factory.setImplementation(CANNON, implementation, gameArgs(oracle));
        factory.setInitBond(CANNON, INIT_BOND);
        vm.stopPrank();
        vm.deal(PROPOSER, 1e5 ether);
        vm.deal(REQUESTER, 1e5 ether);
        vm.deal(CHALLENGER, 1e5 ether);
        vm.deal(address(this), 1e5 ether);

        modelId = register(NODES, 16);
        input = fill(INPUT_BYTES, "input");
        output = fill(OUTPUT_BYTES, "output");
        skip(1); // games made in the block of the oracle's construction are retired
    }

    function newOracle() internal returns (InferenceOracle) {
        return new InferenceOracle(
            InferenceOracle.Config({
                modelRegistry: models,
                disputeGameFactory: factory,
                finalityDelay: Duration256.wrap(FINALITY_DELAY),
                reclaimDelay: Duration256.wrap(RECLAIM_DELAY),
                maxCallbackGas: MAX_CALLBACK_GAS,
                respectedGameType: CANNON,
                owner: OWNER,
                guardian: GUARDIAN,
                pauseDuration: Duration.wrap(PAUSE_DURATION)
            })
        );
    }

    function gameArgs(InferenceOracle registry) internal view returns (bytes memory) {
        StateHash prestate = alphabet.commitment(alphabet.firstState());
        return abi.encodePacked(prestate, address(alphabet), address(registry), address(weth), uint256(901));
    }

    // ---------------------------------------------------------------- models

    function headerLeaves(uint64 nodes, uint64 log2Steps, uint64 inputBytes, uint64 outputBytes)
        internal
        pure
        returns (bytes32[2] memory leaves)
    {
        leaves[0] = bytes32(abi.encodePacked("OPMLPROG", uint64(2), nodes, log2Steps));
        leaves[1] = bytes32(abi.encodePacked(inputBytes, outputBytes, uint128(0)));
    }

    function headerProof() internal pure returns (bytes32[33] memory proof) {
        for (uint256 i = 0; i < 33; ++i) {
            proof[i] = keccak256(abi.encode("sibling", i));
        }
    }

    function modelRootOf(bytes32[2] memory leaves, bytes32[33] memory proof) internal pure returns (ModelRoot) {
        bytes32[] memory siblings = new bytes32[](34);
        siblings[0] = leaves[1];
        for (uint256 i = 0; i < 33; ++i) {
            siblings[i + 1] = proof[i];
        }
        return ModelRoot.wrap(SlowTree.rootFromProof(leaves[0], 0, siblings));
    }

    function describe(ModelRoot modelRoot) internal pure returns (Model memory) {
        return Model({
            modelRoot: modelRoot, inputs: '[{"name":"image"}]', outputs: '[{"name":"scores"}]', uri: "ipfs://model"
        });
    }

    function register(uint64 nodes, uint64 log2Steps) internal returns (ModelId) {
        bytes32[2] memory leaves = headerLeaves(nodes, log2Steps, INPUT_BYTES, OUTPUT_BYTES);
        return models.register(describe(modelRootOf(leaves, headerProof())), leaves, headerProof());
    }

    function fill(uint256 size, string memory seed) internal pure returns (bytes memory data) {
        data = new bytes(size);
        for (uint256 i = 0; i < size; ++i) {
            data[i] = bytes1(uint8(uint256(keccak256(abi.encode(seed, i)))));
        }
    }

    // ---------------------------------------------------------------- requests and games

    function ask(address callback, uint64 callbackGas, uint256 fee) internal returns (RequestId) {
        vm.prank(REQUESTER);
        return oracle.request{value: fee}(modelId, input, terms(callback, callbackGas));
    }

    function terms(address callback, uint64 callbackGas) internal pure returns (RequestTerms memory) {
        return RequestTerms(callback, callbackGas, false, 0, 0);
    }

    function propose(RequestId requestId, Claim rootClaim) internal returns (FaultDisputeGame) {
        vm.prank(PROPOSER);
        return
            FaultDisputeGame(
                payable(address(factory.create{value: INIT_BOND}(CANNON, rootClaim, abi.encode(requestId))))
            );
    }

    /// @notice The game of a proposer that tells the truth.
    function proposeTruth(RequestId requestId) internal returns (FaultDisputeGame) {
        return propose(requestId, claimOf(oracle.finalRoot(requestId, output, ArenaRoot.wrap(ARENA))));
    }

    function resolve(FaultDisputeGame game) internal {
        for (uint256 i = game.claimDataLen(); i > 0; --i) {
            game.resolveClaim(i - 1, 0);
        }
        game.resolve();
    }

    /// @notice No answer is made, and all delays pass.
    function survive(FaultDisputeGame game) internal {
        skip(CLOCK);
        resolve(game);
        skip(FINALITY_DELAY + 1);
    }
}

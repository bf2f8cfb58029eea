// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {OracleFixture} from "../oracle/helpers/OracleFixture.sol";
import {FaultDisputeGame} from "../../src/dispute/FaultDisputeGame.sol";
import {Position} from "../../src/dispute/Position.sol";
import {DigitReader} from "../../src/examples/DigitReader.sol";
import {Model} from "../../src/oracle/interfaces/IModelRegistry.sol";
import {Claim, claimOf} from "../../src/dispute/Claim.sol";
import {RequestId} from "../../src/dispute/RequestId.sol";
import {StateRoot} from "../../src/dispute/StateRoot.sol";
import {ArenaRoot, InputRoot, ModelRoot, OutputRoot} from "../../src/oracle/SectionRoot.sol";
import {SegmentTree} from "../../src/oracle/SegmentTree.sol";
import {ItemOutput, RequestTerms} from "../../src/oracle/interfaces/IInferenceOracle.sol";
import {IDefenderShares} from "../../src/oracle/interfaces/IDefenderShares.sol";
import {IProposerBonds} from "../../src/oracle/interfaces/IProposerBonds.sol";
import {ISegmentRoots} from "../../src/oracle/interfaces/ISegmentRoots.sol";

/// @notice What each call costs as a transaction of its own, on record in snapshots/game.json. A game of depth 8 over 12
///         nodes; input 100 bytes, output 40.
/// forge-config: default.isolate = true
contract GasTest is OracleFixture {
    function record(string memory name) internal {
        vm.snapshotGasLastCall("game", name);
    }

    function attack(FaultDisputeGame game, uint256 index, Claim claim, string memory name) internal returns (uint256) {
        (,,,, Claim disputed, Position position,) = game.claimData(index);
        uint256 bond = game.getRequiredBond(position.attack());
        skip(12); // no two moves stand in one block
        game.attack{value: bond}(disputed, index, claim);
        if (bytes(name).length != 0) record(name);
        return game.claimDataLen() - 1;
    }

    function test_gas_delivery() public {
        DigitReader reader = new DigitReader(oracle, modelId);
        bytes32[2] memory leaves = headerLeaves(99, 26, 4, 4);
        Model memory model = describe(modelRootOf(leaves, headerProof()));
        models.register(model, leaves, headerProof());
        record("register a model");

        RequestId id = ask(address(0), 0, 1 ether);
        record("request, 100 bytes of input");
        RequestId digit = reader.read(input);
        input = new bytes(100);

        oracle.commit("an answer");
        record("commit to a proposal");
        FaultDisputeGame game = proposeTruth(id);
        record("create a game for a fee");
        FaultDisputeGame digitGame = proposeTruth(digit);
        skip(CLOCK);
        game.resolveClaim(0, 0);
        record("resolve the undisputed root claim");
        game.resolve();
        record("resolve the game");
        resolve(digitGame);
        skip(FINALITY_DELAY + 1);
        oracle.finalize(id, game, output, ArenaRoot.wrap(ARENA));
        record("finalize, 40 bytes of output, no callback");
        oracle.finalize(digit, digitGame, output, ArenaRoot.wrap(ARENA));
        record("finalize, 40 bytes of output, digit reader called");
        game.closeGame();
        record("close a game");
        game.claimCredit(PROPOSER);
        record("claim credit, first call");
        skip(WETH_DELAY);
        game.claimCredit(PROPOSER);
        record("claim credit, second call");
    }

    /// @notice What a request costs that demands a bond and asks for its output by root.
    function test_gas_termsOfRequests() public {
        IProposerBonds bonds = oracle.proposerBonds();
        vm.prank(REQUESTER);
        RequestId id = oracle.request{value: 1 ether}(modelId, input, RequestTerms(address(0), 0, true, 1 ether, 0));
        vm.prank(PROPOSER);
        bonds.deposit{value: 1 ether}();
        record("deposit for a demanded bond");
        (ModelRoot modelRoot,,,,,) = models.parameters(modelId);
        OutputRoot root = OutputRoot.wrap("output");
        InputRoot inputRoot = oracle.requests(id).inputRoot;
        StateRoot last = SegmentTree.finalRoot(modelRoot, NODES, inputRoot, root, ArenaRoot.wrap(ARENA));
        FaultDisputeGame game = propose(id, claimOf(last));
        record("create a game for a fee, locking a bond");
        survive(game);
        oracle.finalizeByRoot(id, game, root, ArenaRoot.wrap(ARENA));
        record("finalize by root, no callback");
        game.closeGame();
        bonds.release(game);
        record("release a demanded bond");
        ISegmentRoots roots = oracle.segmentRoots();
        roots.outputRootWith(new bytes(32), 0, new bytes32[](31));
        record("prove 32 bytes of an output by its root");
    }

    receive() external payable {}

    /// @notice What a request costs that shares its fee with the defenders of the answer, of which one countered sixteen claims.
    function test_gas_shares() public {
        IDefenderShares shares = oracle.defenderShares();
        for (uint256 round = 0; round < 2; ++round) {
            bool isShared = round == 1;
            uint16 bps = isShared ? 2_000 : 0;
            vm.prank(REQUESTER);
            RequestId id = oracle.request{value: 1 ether}(modelId, input, RequestTerms(address(0), 0, false, 0, bps));
            FaultDisputeGame game = proposeTruth(id);
            for (uint256 i = 0; i < 16; ++i) {
                attack(game, attack(game, 0, Claim.wrap(bytes32(i)), ""), Claim.wrap("no"), "");
            }
            survive(game);
            oracle.finalize(id, game, output, ArenaRoot.wrap(ARENA));
            record(isShared ? "finalize with a defenders' share, closing the game" : "finalize after a dispute");
            if (!isShared) continue;
            uint256[] memory countered = new uint256[](16);
            for (uint256 i = 0; i < 16; ++i) {
                countered[i] = 2 * i + 1;
            }
            uint256 before = vm.snapshotState();
            shares.pay(game, address(this), countered);
            record("pay a defenders' share, for 16 claims");
            vm.revertToState(before);
            assembly ("memory-safe") {
                mstore(countered, 1) // the first alone
            }
            shares.pay(game, address(this), countered);
            record("pay a defenders' share, for one claim");
        }
    }

    /// @notice What 64 requests cost together, each with 100 bytes of input and 40 of output.
    function test_gas_batch() public {
        uint256 count = 64;
        bytes memory inputs = fill(count * INPUT_BYTES, "inputs");
        vm.prank(REQUESTER);
        RequestId id = oracle.requestBatch{value: 64 ether}(modelId, inputs, count, terms(address(0), 0));
        record("request a batch of 64, 100 bytes of input each");

        // Every item has the same final state, so the siblings are the roots of whole subtrees of it.
        (ModelRoot modelRoot,,,,,) = models.parameters(modelId);
        bytes32[] memory siblings = new bytes32[](6);
        bytes32 root = this.finalRootOf(modelRoot, output).raw();
        for (uint256 level = 0; level < 6; ++level) {
            siblings[level] = root;
            root = SegmentTree.hashPair(root, root);
        }
        ItemOutput[] memory outputs = new ItemOutput[](count);
        for (uint256 i = 0; i < count; ++i) {
            outputs[i] =
                ItemOutput(i, output, OutputRoot.wrap(0), InputRoot.wrap("inputs"), ArenaRoot.wrap(ARENA), siblings);
        }
        FaultDisputeGame game = propose(id, Claim.wrap(root));
        record("create a game about a batch for a fee");
        survive(game);
        oracle.finalizeItems(id, game, outputs);
        record("finalize 64 items, 40 bytes of output each");
    }

    function finalRootOf(ModelRoot modelRoot, bytes calldata output_) external pure returns (StateRoot) {
        OutputRoot outputRoot = OutputRoot.wrap(SegmentTree.imageRoot(output_, SegmentTree.LOG2_OUTPUT));
        return SegmentTree.finalRoot(modelRoot, NODES, InputRoot.wrap("inputs"), outputRoot, ArenaRoot.wrap(ARENA));
    }

    function test_gas_dispute() public {
        RequestId id = ask(address(0), 0, 0);
        FaultDisputeGame game = propose(id, Claim.wrap("a lie"));
        record("create a game");
        uint256 index = attack(game, 0, Claim.wrap("1"), "attack, depth 1");
        index = attack(game, index, Claim.wrap("2"), "attack, depth 2");
        index = attack(game, index, Claim.wrap("3"), "attack, split depth - 1");
        index = attack(game, index, Claim.wrap("4"), "attack, split depth");
        index = attack(game, index, Claim.wrap(bytes32(uint256(1) << 248)), "attack, split depth + 1");
        uint256 max = game.maxGameDepth();
        for (uint256 d = 6; d < max - 1; ++d) {
            index = attack(game, index, Claim.wrap(bytes32(d)), "");
        }
        index = attack(game, index, Claim.wrap("one before"), "attack, max depth - 1");
        index = attack(game, index, Claim.wrap("last"), "attack, max depth");
        game.addLocalData(2, index, 0);
        record("add local data, toy oracle");
        game.step(index, true, abi.encode(alphabet.firstState()), "");
        record("step, toy VM");
        skip(2 * CLOCK);
        game.resolveClaim(index, 0);
        record("resolve a leaf");
        game.resolveClaim(index - 1, 0);
        record("resolve a claim with one answer");
    }

    /// @notice The depth of the sample model's games, 26 moves: settled in one transaction.
    function test_gas_settleAWholeDispute() public {
        modelId = register(NODES, 20);
        FaultDisputeGame game = propose(ask(address(0), 0, 0), Claim.wrap("a lie"));
        vm.assertEq(game.maxGameDepth(), 26);
        uint256 index = 0;
        for (uint256 d = 1; d <= 26; ++d) {
            index = attack(game, index, Claim.wrap(bytes32(uint256(1) << 248 | d)), "");
        }
        skip(2 * CLOCK);
        uint256[] memory indices = new uint256[](27);
        for (uint256 i = 0; i < 27; ++i) {
            indices[i] = 26 - i;
        }
        game.settle(indices, 0);
        record("settle 27 claims and the game");
    }

    /// @notice All that an account sends which counters a root claim, if no other account does anything: the root bond has to
    ///         pay for that.
    function test_gas_counterARootClaimAlone() public {
        FaultDisputeGame game = propose(ask(address(0), 0, 0), Claim.wrap("a lie"));
        attack(game, 0, Claim.wrap("the truth"), "");
        skip(CLOCK);
        uint256[] memory both = new uint256[](2);
        both[0] = 1;
        game.settle(both, 0);
        record("settle 2 claims and the game");
        skip(FINALITY_DELAY + 1);
        game.claimCredit(address(this));
        record("claim credit, first call, closing the game");
    }

    function test_gas_wideClaim() public {
        RequestId id = ask(address(0), 0, 0);
        FaultDisputeGame game = propose(id, Claim.wrap("a lie"));
        for (uint256 i = 0; i < 100; ++i) {
            attack(game, 0, Claim.wrap(bytes32(i + 1)), "");
        }
        skip(CLOCK);
        for (uint256 i = 1; i <= 100; ++i) {
            game.resolveClaim(i, 0);
        }
        game.resolveClaim(0, 0);
        record("resolve a claim with 100 answers");
    }
}

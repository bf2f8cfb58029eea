// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {SafeCastLib} from "solady/utils/SafeCastLib.sol";
import {Vm} from "../Test.sol";
import {OracleFixture} from "./helpers/OracleFixture.sol";
import {GoodConsumer, ProudProposer} from "./helpers/Consumers.sol";
import {FaultDisputeGame} from "../../src/dispute/FaultDisputeGame.sol";
import {Position} from "../../src/dispute/Position.sol";
import {GameStatus} from "../../src/dispute/Types.sol";
import {IDisputeGame} from "../../src/dispute/interfaces/IDisputeGame.sol";
import {IDisputeGameFactory} from "../../src/dispute/interfaces/IDisputeGameFactory.sol";
import {InferenceOracle} from "../../src/oracle/InferenceOracle.sol";
import {SegmentTree} from "../../src/oracle/SegmentTree.sol";
import {IInferenceOracle, Request} from "../../src/oracle/interfaces/IInferenceOracle.sol";
import {IModelRegistry} from "../../src/oracle/interfaces/IModelRegistry.sol";
import {Claim, claimOf} from "../../src/dispute/Claim.sol";
import {StateRoot} from "../../src/dispute/StateRoot.sol";
import {RequestId} from "../../src/dispute/RequestId.sol";
import {ArenaRoot, InputRoot, ModelRoot, OutputRoot} from "../../src/oracle/SectionRoot.sol";
import {ModelId} from "../../src/oracle/ModelId.sol";

/// @notice Requests: asking, proposing, delivering, paying, and every way to spoil it.
contract InferenceOracleTest is OracleFixture {
    function imageRoot(bytes calldata image) external pure returns (bytes32) {
        return SegmentTree.imageRoot(image, 36);
    }

    // ---------------------------------------------------------------- asking

    function test_request_recordsEverything() public {
        uint256 gamesBefore = factory.gameCount();
        RequestId id = ask(address(0xca11), 1000, 1 ether);
        Request memory asked = oracle.requests(id);
        InputRoot inputRoot = InputRoot.wrap(this.imageRoot(input));
        (ModelRoot modelRoot,,,,,) = models.parameters(modelId);
        vm.assertEq(asked.modelId.raw(), modelId.raw());
        vm.assertEq(InputRoot.unwrap(asked.inputRoot), InputRoot.unwrap(inputRoot));
        vm.assertEq(asked.startingRoot.raw(), SegmentTree.initialRoot(modelRoot, inputRoot).raw());
        vm.assertEq(asked.requester, REQUESTER);
        vm.assertEq(asked.requestedAt.raw(), block.timestamp);
        vm.assertEq(asked.callback, address(0xca11));
        vm.assertEq(asked.callbackGas, 1000);
        vm.assertEq(asked.fee, 1 ether);
        vm.assertEq(asked.firstGameIndex, gamesBefore);
        vm.assertEq(address(asked.deliveredBy), address(0));
        vm.assertEq(OutputRoot.unwrap(asked.outputRoot), 0);
        vm.assertEq(oracle.requestCount(), 1);
        vm.assertEq(oracle.requestIdAtIndex(0).raw(), id.raw());
        vm.assertEq(address(oracle).balance, 1 ether);
        (StateRoot startingRoot, uint64 nodes, uint64 split, uint64 max, uint64 items) = oracle.gameParameters(id);
        vm.assertEq(items, 1);
        vm.assertEq(
            abi.encode(startingRoot, nodes, split, max), abi.encode(asked.startingRoot, NODES, uint64(4), uint64(22))
        );
    }

    function test_request_tellsTheLog() public {
        InputRoot inputRoot = InputRoot.wrap(this.imageRoot(input));
        uint256 before = vm.snapshotState();
        RequestId id = ask(address(1), 2, 3);
        vm.revertToState(before);
        vm.expectEmit(address(oracle));
        emit IInferenceOracle.InferenceRequested(id, modelId, REQUESTER, inputRoot, input, "", terms(address(1), 2), 3);
        ask(address(1), 2, 3);
    }

    function test_requestByRoot_isTheSameRequest() public {
        RequestId one = ask(address(0), 0, 0);
        InputRoot inputRoot = InputRoot.wrap(this.imageRoot(input));
        RequestId two = oracle.requestByRoot(modelId, inputRoot, "ipfs://input", terms(address(0), 0));
        vm.assertNotEq(one.raw(), two.raw());
        vm.assertEq(oracle.requests(one).startingRoot.raw(), oracle.requests(two).startingRoot.raw());
        uint256 before = vm.snapshotState();
        RequestId three = oracle.requestByRoot(modelId, inputRoot, "ipfs://input", terms(address(0), 0));
        vm.revertToState(before);
        vm.expectEmit(address(oracle));
        emit IInferenceOracle.InferenceRequested(
            three, modelId, address(this), inputRoot, "", "ipfs://input", terms(address(0), 0), 0
        );
        oracle.requestByRoot(modelId, inputRoot, "ipfs://input", terms(address(0), 0));
    }

    /// @notice The same question twice is two requests.
    function test_request_idsAreUnique() public {
        vm.assertNotEq(ask(address(0), 0, 0).raw(), ask(address(0), 0, 0).raw());
    }

    function test_request_refusals() public {
        bytes memory unknown = abi.encodeWithSelector(IModelRegistry.UnknownModel.selector, bytes32("no"));
        vm.expectRevert(unknown);
        oracle.request(ModelId.wrap("no"), input, terms(address(0), 0));
        vm.expectRevert(unknown);
        oracle.requestByRoot(ModelId.wrap("no"), InputRoot.wrap("root"), "", terms(address(0), 0));
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.InputSizeMismatch.selector, 99, INPUT_BYTES));
        oracle.request(modelId, new bytes(99), terms(address(0), 0));
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.InputSizeMismatch.selector, 101, INPUT_BYTES));
        oracle.request(modelId, new bytes(101), terms(address(0), 0));
        vm.expectRevert(
            abi.encodeWithSelector(IInferenceOracle.CallbackGasTooHigh.selector, MAX_CALLBACK_GAS + 1, MAX_CALLBACK_GAS)
        );
        oracle.request(modelId, input, terms(address(1), MAX_CALLBACK_GAS + 1));
        oracle.request(modelId, input, terms(address(1), MAX_CALLBACK_GAS));
        // A fee that does not fit its field is refused, not cut.
        vm.deal(address(this), 1 << 97);
        vm.expectRevert(SafeCastLib.Overflow.selector);
        oracle.request{value: 1 << 96}(modelId, input, terms(address(0), 0));
        oracle.request{value: (1 << 96) - 1}(modelId, input, terms(address(0), 0));
    }

    function test_unknownRequest() public {
        bytes memory unknown = abi.encodeWithSelector(IInferenceOracle.UnknownRequest.selector, bytes32("no"));
        vm.expectRevert(unknown);
        oracle.requests(RequestId.wrap("no"));
        vm.expectRevert(unknown);
        oracle.finalize(RequestId.wrap("no"), IDisputeGame(address(1)), "", ArenaRoot.wrap(""));
        vm.expectRevert(unknown);
        oracle.reclaimFee(RequestId.wrap("no"));
        vm.expectRevert(unknown);
        oracle.gamesOf(RequestId.wrap("no"), 0, 10);
        (StateRoot startingRoot, uint64 nodes, uint64 split, uint64 max,) = oracle.gameParameters(RequestId.wrap("no"));
        vm.assertEq(abi.encode(startingRoot, nodes, split, max), new bytes(128));
    }

    // ---------------------------------------------------------------- delivering

    function test_finalize_deliversPaysAndCalls() public {
        GoodConsumer consumer = new GoodConsumer();
        RequestId id = ask(address(consumer), 500_000, 1 ether);
        FaultDisputeGame game = proposeTruth(id);
        survive(game);
        uint256 before = PROPOSER.balance;

        vm.expectEmit(address(oracle));
        emit IInferenceOracle.InferenceDelivered(id, modelId, game, output);
        vm.expectEmit(address(oracle));
        emit IInferenceOracle.FeePaid(id, PROPOSER, 1 ether);
        vm.expectEmit(address(oracle));
        emit IInferenceOracle.CallbackCalled(id, address(consumer), true, "");
        oracle.finalize(id, game, output, ArenaRoot.wrap(ARENA));

        vm.assertEq(PROPOSER.balance, before + 1 ether);
        vm.assertEq(address(oracle).balance, 0);
        vm.assertEq(consumer.requestId().raw(), id.raw());
        vm.assertEq(consumer.modelId().raw(), modelId.raw());
        vm.assertEq(consumer.output(), output);
        vm.assertEq(consumer.caller(), address(oracle));
        Request memory asked = oracle.requests(id);
        vm.assertEq(address(asked.deliveredBy), address(game));
        vm.assertEq(OutputRoot.unwrap(asked.outputRoot), this.imageRoot(output));
        vm.assertEq(asked.fee, 0);
    }

    /// @notice What S_n is made of: the model, the node count, no error, this input, this output, that arena.
    function test_finalRoot_parts() public {
        RequestId id = ask(address(0), 0, 0);
        (ModelRoot modelRoot,,,,,) = models.parameters(modelId);
        StateRoot expected = SegmentTree.stateRoot(
            modelRoot,
            SegmentTree.headerRoot(NODES, 0, 0),
            InputRoot.wrap(this.imageRoot(input)),
            OutputRoot.wrap(this.imageRoot(output)),
            ArenaRoot.wrap(ARENA)
        );
        vm.assertEq(oracle.finalRoot(id, output, ArenaRoot.wrap(ARENA)).raw(), expected.raw());
    }

    function test_finalize_errorsInOrder() public {
        RequestId id = ask(address(0), 0, 0);
        RequestId other = ask(address(0), 0, 0);
        FaultDisputeGame game = proposeTruth(id);
        bytes memory notValid = abi.encodeWithSelector(IInferenceOracle.GameNotValid.selector, game);

        vm.expectRevert(notValid); // in progress
        oracle.finalize(id, game, output, ArenaRoot.wrap(ARENA));
        skip(CLOCK);
        resolve(game);
        vm.expectRevert(notValid); // resolved, not final
        oracle.finalize(id, game, output, ArenaRoot.wrap(ARENA));
        skip(FINALITY_DELAY);
        vm.expectRevert(notValid); // not yet
        oracle.finalize(id, game, output, ArenaRoot.wrap(ARENA));
        skip(1);

        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.GameForOtherRequest.selector, id, other));
        oracle.finalize(other, game, output, ArenaRoot.wrap(ARENA));
        vm.expectRevert(
            abi.encodeWithSelector(IInferenceOracle.OutputSizeMismatch.selector, OUTPUT_BYTES + 1, OUTPUT_BYTES)
        );
        oracle.finalize(id, game, abi.encodePacked(output, uint8(0)), ArenaRoot.wrap(ARENA));
        refuseRoot(id, game, fill(OUTPUT_BYTES, "other"), ArenaRoot.wrap(ARENA));
        refuseRoot(id, game, output, ArenaRoot.wrap("other"));

        oracle.finalize(id, game, output, ArenaRoot.wrap(ARENA));
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.AlreadyDelivered.selector, id, game));
        oracle.finalize(id, game, output, ArenaRoot.wrap(ARENA));
    }

    function refuseRoot(RequestId id, FaultDisputeGame game, bytes memory output_, ArenaRoot arena) internal {
        StateRoot computed = oracle.finalRoot(id, output_, arena);
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.StateRootMismatch.selector, computed, game.rootClaim()));
        oracle.finalize(id, game, output_, arena);
    }

    /// @notice An inference that failed has a final state too, but no output.
    function test_finalize_notFromAFailedInference() public {
        RequestId id = ask(address(0), 0, 0);
        (ModelRoot modelRoot,,,,,) = models.parameters(modelId);
        StateRoot failed = SegmentTree.stateRoot(
            modelRoot,
            SegmentTree.headerRoot(NODES, 3, 5),
            InputRoot.wrap(this.imageRoot(input)),
            OutputRoot.wrap(this.imageRoot(output)),
            ArenaRoot.wrap(ARENA)
        );
        FaultDisputeGame game = propose(id, claimOf(failed));
        survive(game);
        refuseRoot(id, game, output, ArenaRoot.wrap(ARENA));
    }

    function test_finalize_notFromALostGame() public {
        RequestId id = ask(address(0), 0, 0);
        FaultDisputeGame game = proposeTruth(id);
        uint256 bond = game.getRequiredBond(Position.wrap(2));
        Claim root = game.rootClaim();
        game.attack{value: bond}(root, 0, Claim.wrap("no"));
        survive(game);
        vm.assertTrue(game.status() == GameStatus.CHALLENGER_WINS);
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.GameNotValid.selector, game));
        oracle.finalize(id, game, output, ArenaRoot.wrap(ARENA));
    }

    /// @notice A contract that says all the right things about itself, but that the factory did not make.
    function test_finalize_notFromAnImpostor() public {
        RequestId id = ask(address(0), 0, 0);
        FaultDisputeGame game = proposeTruth(id);
        survive(game);
        address impostor = address(0x1234);
        vm.etch(impostor, address(game).code);
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.GameNotValid.selector, impostor));
        oracle.finalize(id, IDisputeGame(impostor), output, ArenaRoot.wrap(ARENA));
    }

    /// @notice Two oracles at one factory do not deliver each other's games.
    function test_finalize_notFromAnotherOraclesGame() public {
        RequestId id = ask(address(0), 0, 0);
        InferenceOracle second = newOracle();
        skip(1);
        FaultDisputeGame game = proposeTruth(id);
        survive(game);
        vm.mockCall(address(game), abi.encodeWithSignature("anchorStateRegistry()"), abi.encode(address(second)));
        vm.expectRevert(
            abi.encodeWithSelector(IInferenceOracle.GameOfOtherRegistry.selector, address(second), address(oracle))
        );
        oracle.finalize(id, game, output, ArenaRoot.wrap(ARENA));
    }

    function test_finalize_firstSurvivorDelivers() public {
        RequestId id = ask(address(0), 0, 1 ether);
        FaultDisputeGame lie = propose(id, Claim.wrap("a lie"));
        FaultDisputeGame truth = proposeTruth(id);
        Claim alsoTrue = claimOf(oracle.finalRoot(id, output, ArenaRoot.wrap("also true")));
        vm.prank(CHALLENGER);
        FaultDisputeGame second =
            FaultDisputeGame(payable(address(factory.create{value: INIT_BOND}(CANNON, alsoTrue, abi.encode(id)))));
        skip(CLOCK);
        resolve(lie);
        resolve(truth);
        resolve(second);
        skip(FINALITY_DELAY + 1);
        // The lie survived as well, since it was not challenged, but no known output leads to it.
        refuseRoot(id, lie, output, ArenaRoot.wrap(ARENA));
        uint256 before = CHALLENGER.balance;
        oracle.finalize(id, second, output, ArenaRoot.wrap("also true"));
        vm.assertEq(CHALLENGER.balance, before + 1 ether);
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.AlreadyDelivered.selector, id, second));
        oracle.finalize(id, truth, output, ArenaRoot.wrap(ARENA));
    }

    /// @notice Nothing is called, paid or told where a request has no consumer and no fee.
    function test_finalize_withoutConsumerAndFee() public {
        RequestId id = ask(address(0), 0, 0);
        FaultDisputeGame game = proposeTruth(id);
        survive(game);
        vm.recordLogs();
        oracle.finalize(id, game, output, ArenaRoot.wrap(ARENA));
        Vm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertGt(logs.length, 0);
        for (uint256 i = 0; i < logs.length; ++i) {
            vm.assertNotEq(logs[i].topics[0], IInferenceOracle.CallbackCalled.selector);
            vm.assertNotEq(logs[i].topics[0], IInferenceOracle.FeePaid.selector);
        }
    }

    // ---------------------------------------------------------------- the fee

    function test_fee_ofOneWei() public {
        RequestId id = ask(address(0), 0, 1);
        FaultDisputeGame game = proposeTruth(id);
        survive(game);
        vm.expectEmit(address(oracle));
        emit IInferenceOracle.FeePaid(id, PROPOSER, 1);
        oracle.finalize(id, game, output, ArenaRoot.wrap(ARENA));
    }

    function test_fee_reachesAProposerThatRefusesIt() public {
        ProudProposer proud = new ProudProposer();
        RequestId id = ask(address(0), 0, 1 ether);
        Claim root = claimOf(oracle.finalRoot(id, output, ArenaRoot.wrap(ARENA)));
        bytes memory call = abi.encodeCall(IDisputeGameFactory.create, (CANNON, root, abi.encode(id)));
        FaultDisputeGame game = FaultDisputeGame(payable(proud.create{value: INIT_BOND}(address(factory), call)));
        survive(game);
        oracle.finalize(id, game, output, ArenaRoot.wrap(ARENA));
        vm.assertEq(address(proud).balance, 1 ether);
    }

    function test_reclaimFee_errorsInOrder() public {
        RequestId id = ask(address(0), 0, 1 ether);
        uint256 deadline = block.timestamp + RECLAIM_DELAY;
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.NotRequester.selector, address(this), REQUESTER));
        oracle.reclaimFee(id);
        vm.startPrank(REQUESTER);
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.ReclaimTooEarly.selector, block.timestamp, deadline));
        oracle.reclaimFee(id);
        vm.warp(deadline);
        uint256 before = REQUESTER.balance;
        vm.expectEmit(address(oracle));
        emit IInferenceOracle.FeeReclaimed(id, REQUESTER, 1 ether);
        oracle.reclaimFee(id);
        vm.assertEq(REQUESTER.balance, before + 1 ether);
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.NoFee.selector, id));
        oracle.reclaimFee(id);
    }

    /// @notice After the fee was taken back, an output can still come, for nothing.
    function test_reclaimFee_leavesTheRequestOpen() public {
        RequestId id = ask(address(0), 0, 1 ether);
        ask(address(0), 0, 2 ether); // another requester's money in the oracle
        FaultDisputeGame game = proposeTruth(id);
        survive(game);
        skip(RECLAIM_DELAY);
        vm.prank(REQUESTER);
        oracle.reclaimFee(id);
        uint256 before = PROPOSER.balance;
        oracle.finalize(id, game, output, ArenaRoot.wrap(ARENA));
        vm.assertEq(PROPOSER.balance, before);
        vm.assertEq(address(oracle).balance, 2 ether);
    }

    function test_reclaimFee_notAfterDelivery() public {
        RequestId id = ask(address(0), 0, 1 ether);
        FaultDisputeGame game = proposeTruth(id);
        survive(game);
        oracle.finalize(id, game, output, ArenaRoot.wrap(ARENA));
        skip(RECLAIM_DELAY);
        vm.prank(REQUESTER);
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.NoFee.selector, id));
        oracle.reclaimFee(id);
    }

    // ---------------------------------------------------------------- looking up

    function test_gamesOf_inPages() public {
        RequestId earlier = ask(address(0), 0, 0);
        propose(earlier, Claim.wrap("e0"));
        RequestId id = ask(address(0), 0, 0);
        FaultDisputeGame a = propose(id, Claim.wrap("a"));
        propose(earlier, Claim.wrap("e1"));
        FaultDisputeGame b = propose(id, Claim.wrap("b"));
        vm.assertEq(oracle.requests(id).firstGameIndex, 1);

        (IDisputeGame[] memory games, uint256 next) = oracle.gamesOf(id, 0, 100);
        vm.assertEq(games.length, 2);
        vm.assertEq(address(games[0]), address(a));
        vm.assertEq(address(games[1]), address(b));
        vm.assertEq(next, 4);
        (games, next) = oracle.gamesOf(id, 0, 2); // looks at games 1 and 2
        vm.assertEq(games.length, 1);
        vm.assertEq(address(games[0]), address(a));
        vm.assertEq(next, 3);
        (games, next) = oracle.gamesOf(id, next, 2);
        vm.assertEq(games.length, 1);
        vm.assertEq(address(games[0]), address(b));
        vm.assertEq(next, 4);
        (games, next) = oracle.gamesOf(id, 99, type(uint256).max);
        vm.assertEq(games.length, 0);
        vm.assertEq(next, 4);
        (games,) = oracle.gamesOf(earlier, 0, type(uint256).max);
        vm.assertEq(games.length, 2);
    }
}

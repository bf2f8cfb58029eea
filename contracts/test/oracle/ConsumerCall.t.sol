// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Vm} from "../Test.sol";
import {OracleFixture} from "./helpers/OracleFixture.sol";
import {
    BombConsumer,
    BurningConsumer,
    GoodConsumer,
    ReentrantConsumer,
    RevertingConsumer
} from "./helpers/Consumers.sol";
import {FaultDisputeGame} from "../../src/dispute/FaultDisputeGame.sol";
import {RequestId} from "../../src/dispute/RequestId.sol";
import {IInferenceOracle} from "../../src/oracle/interfaces/IInferenceOracle.sol";
import {ArenaRoot} from "../../src/oracle/SectionRoot.sol";

/// @notice Consumers that misbehave: whatever one does with its call, the output is delivered and the fee is paid.
contract ConsumerCallTest is OracleFixture {
    function deliverTo(address callback, uint64 callbackGas) internal returns (RequestId id, FaultDisputeGame game) {
        id = ask(callback, callbackGas, 1 ether);
        game = proposeTruth(id);
        survive(game);
    }

    function expectFailedCallback(RequestId id, address callback, bytes memory reason) internal {
        vm.expectEmit(address(oracle));
        emit IInferenceOracle.CallbackCalled(id, callback, false, reason);
    }

    function assertDelivered(RequestId id, FaultDisputeGame game) internal view {
        vm.assertEq(address(oracle.requests(id).deliveredBy), address(game));
        vm.assertEq(address(oracle).balance, 0);
    }

    function test_callback_mayRevert() public {
        address callback = address(new RevertingConsumer());
        (RequestId id, FaultDisputeGame game) = deliverTo(callback, 100_000);
        vm.recordLogs();
        oracle.finalize(id, game, output, ArenaRoot.wrap(ARENA));
        Vm.Log[] memory logs = vm.getRecordedLogs();
        (bool success, bytes memory recorded) = abi.decode(logs[logs.length - 1].data, (bool, bytes));
        vm.assertFalse(success);
        vm.assertEq(recorded.length, 256); // of 10,000
        vm.assertEq(bytes32(recorded), "too bad");
        assertDelivered(id, game);
    }

    function test_callback_mayReturnAnything() public {
        address callback = address(new BombConsumer());
        (RequestId id, FaultDisputeGame game) = deliverTo(callback, 200_000);
        vm.expectEmit(address(oracle));
        emit IInferenceOracle.CallbackCalled(id, callback, true, "");
        oracle.finalize{gas: 800_000}(id, game, output, ArenaRoot.wrap(ARENA));
        assertDelivered(id, game);
    }

    function test_callback_mayBurnItsGas() public {
        address callback = address(new BurningConsumer());
        (RequestId id, FaultDisputeGame game) = deliverTo(callback, 1_000_000);
        expectFailedCallback(id, callback, "");
        uint256 before = gasleft();
        oracle.finalize(id, game, output, ArenaRoot.wrap(ARENA));
        vm.assertLt(before - gasleft(), 1_600_000); // its gas, and not more
        assertDelivered(id, game);
    }

    function test_callback_mayHaveNoCode() public {
        (RequestId id, FaultDisputeGame game) = deliverTo(address(0xdead), 100_000);
        expectFailedCallback(id, address(0xdead), "");
        oracle.finalize(id, game, output, ArenaRoot.wrap(ARENA));
        assertDelivered(id, game);
    }

    function test_callback_cannotDeliverAgain() public {
        ReentrantConsumer consumer = new ReentrantConsumer();
        (RequestId id, FaultDisputeGame game) = deliverTo(address(consumer), 1_000_000);
        consumer.prepare(game, ArenaRoot.wrap(ARENA));
        oracle.finalize(id, game, output, ArenaRoot.wrap(ARENA));
        vm.assertEq(consumer.reason(), abi.encodeWithSelector(IInferenceOracle.AlreadyDelivered.selector, id, game));
        assertDelivered(id, game);
    }

    /// @notice Either all fails or the consumer has the gas it was promised: with the least gas that delivers, the consumer
    ///         sees what it sees when it is called with that gas directly.
    function test_callback_getsItsGasOrNothingHappens() public {
        GoodConsumer consumer = new GoodConsumer();
        uint64 promised = MAX_CALLBACK_GAS;
        (RequestId id, FaultDisputeGame game) = deliverTo(address(consumer), promised);
        uint256 before = vm.snapshotState();
        consumer.onInference{gas: promised}(id, modelId, output);
        uint256 expected = consumer.gasAtEntry();
        vm.revertToState(before);

        (uint256 refused, uint256 delivered) = (promised, uint256(promised) + 1_000_000);
        while (delivered - refused > 1) {
            uint256 gas = (refused + delivered) / 2;
            before = vm.snapshotState();
            vm.cool(address(consumer)); // as it is in a transaction of its own
            try oracle.finalize{gas: gas}(id, game, output, ArenaRoot.wrap(ARENA)) {
                vm.assertEq(consumer.gasAtEntry(), expected);
                delivered = gas;
            } catch {
                refused = gas;
            }
            vm.revertToState(before);
        }
        // Both sides of the limit were seen.
        vm.assertGt(refused, promised);
        vm.assertLt(delivered, uint256(promised) + 1_000_000);
    }

    function test_callback_saysWhenTheGasIsShort() public {
        GoodConsumer consumer = new GoodConsumer();
        uint64 promised = 1_000_000;
        (RequestId id, FaultDisputeGame game) = deliverTo(address(consumer), promised);
        try oracle.finalize{gas: 1_080_000}(id, game, output, ArenaRoot.wrap(ARENA)) {
            revert("delivered with too little gas");
        } catch (bytes memory reason) {
            vm.assertEq(bytes4(reason), IInferenceOracle.CallbackGasShort.selector);
            uint256 needed;
            assembly ("memory-safe") {
                needed := mload(add(reason, 0x44)) // behind the length, the selector, and the gas that was left
            }
            vm.assertEq(needed, promised + promised / 63 + 20_000);
        }
    }
}

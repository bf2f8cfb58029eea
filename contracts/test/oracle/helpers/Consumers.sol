// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IDisputeGame} from "../../../src/dispute/interfaces/IDisputeGame.sol";
import {InferenceOracle} from "../../../src/oracle/InferenceOracle.sol";
import {IInferenceConsumer} from "../../../src/oracle/interfaces/IInferenceConsumer.sol";
import {RequestId} from "../../../src/dispute/RequestId.sol";
import {ModelId} from "../../../src/oracle/ModelId.sol";
import {ArenaRoot} from "../../../src/oracle/SectionRoot.sol";

/// @notice Keeps what it was told, and how much gas it had.
contract GoodConsumer is IInferenceConsumer {
    RequestId public requestId;
    ModelId public modelId;
    bytes public output;
    address public caller;
    uint256 public gasAtEntry;

    function onInference(RequestId requestId_, ModelId modelId_, bytes calldata output_) external {
        gasAtEntry = gasleft();
        (requestId, modelId, output, caller) = (requestId_, modelId_, output_, msg.sender);
    }
}

/// @notice Reverts with a reason of 10,000 bytes.
contract RevertingConsumer is IInferenceConsumer {
    function onInference(RequestId, ModelId, bytes calldata) external pure {
        assembly ("memory-safe") {
            mstore(0x00, "too bad")
            revert(0x00, 10000)
        }
    }
}

/// @notice Returns as much memory as its gas can buy.
contract BombConsumer is IInferenceConsumer {
    function onInference(RequestId, ModelId, bytes calldata) external pure {
        assembly ("memory-safe") {
            return(0x00, 200000)
        }
    }
}

/// @notice Never ends.
contract BurningConsumer is IInferenceConsumer {
    function onInference(RequestId, ModelId, bytes calldata) external pure {
        for (uint256 i = 0;; ++i) {}
    }
}

/// @notice Tries to deliver again from inside the delivery, and keeps why it could not.
contract ReentrantConsumer is IInferenceConsumer {
    IDisputeGame internal game;
    ArenaRoot internal arenaRoot;
    bytes public reason;

    function prepare(IDisputeGame game_, ArenaRoot arenaRoot_) external {
        (game, arenaRoot) = (game_, arenaRoot_);
    }

    function onInference(RequestId requestId, ModelId, bytes calldata output) external {
        try InferenceOracle(msg.sender).finalize(requestId, game, output, arenaRoot) {}
        catch (bytes memory why) {
            reason = why;
        }
    }
}

/// @notice A proposer that takes no money.
contract ProudProposer {
    error NoThanks();

    function create(address factory, bytes calldata call) external payable returns (address game) {
        (bool success, bytes memory result) = factory.call{value: msg.value}(call);
        require(success, "create failed");
        return abi.decode(result, (address));
    }

    receive() external payable {
        revert NoThanks();
    }
}

/// @notice A proposer that, whenever it is paid, calls the payer again, and keeps the error by which that was refused.
contract GreedyProposer {
    bytes internal again;
    bytes4 public reason;

    /// @param again_ What it calls when it is paid.
    function prepare(bytes calldata again_) external {
        again = again_;
    }

    function make(address target, bytes calldata call) external payable returns (bytes memory) {
        (bool success, bytes memory result) = target.call{value: msg.value}(call);
        require(success, "call failed");
        return result;
    }

    receive() external payable {
        (bool success, bytes memory why) = msg.sender.call(again);
        require(!success, "paid twice");
        reason = bytes4(why);
    }
}

/// @notice A defender that, whenever it is paid, asks for the same once more, and keeps what it was paid in all by that.
contract GreedyDefender {
    bytes internal again;
    bool public hasAsked;
    uint256 public gained;

    /// @param again_ What it calls when it is paid; answers the amount.
    function prepare(bytes calldata again_) external {
        again = again_;
    }

    function make(address target, bytes calldata call) external payable {
        (bool success,) = target.call{value: msg.value}(call);
        require(success, "call failed");
    }

    receive() external payable {
        (bool success, bytes memory result) = msg.sender.call(again);
        require(success, "refused");
        hasAsked = true;
        gained += abi.decode(result, (uint256));
    }
}

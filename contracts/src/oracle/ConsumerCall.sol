// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {LibCall} from "solady/utils/LibCall.sol";
import {RequestId} from "../dispute/RequestId.sol";
import {OutputRoot} from "./SectionRoot.sol";
import {IInferenceConsumer} from "./interfaces/IInferenceConsumer.sol";
import {IInferenceOracle, Request} from "./interfaces/IInferenceOracle.sol";
import {IInferenceRootConsumer} from "./interfaces/IInferenceRootConsumer.sol";

/// @title The call that hands an output to its consumer
/// @notice Neither a consumer's failure nor its return data, whatever their size, can block a delivery.
library ConsumerCall {
    /// @dev Gas spent between the check and the consumer's first instruction, and after its last, at most.
    uint256 internal constant OVERHEAD_GAS = 20_000;
    /// @dev A call leaves its caller the gas that is left, less 63 of 64 parts of it.
    uint256 internal constant CALLED_GAS_PARTS = 63;
    /// @dev The number of bytes of a consumer's revert reason that are recorded.
    uint16 internal constant MAX_REASON_BYTES = 256;

    /// @notice Calls the consumer of a request, if it has one, with an output. Reverts with CallbackGasShort.
    /// @param told The id under which the consumer gets the output.
    function hand(RequestId requestId, RequestId told, Request storage asked, bytes calldata output) internal {
        if (asked.callback == address(0)) return;
        _make(requestId, asked, abi.encodeCall(IInferenceConsumer.onInference, (told, asked.modelId, output)));
    }

    /// @notice As `hand`, with the root of an output.
    function handRoot(RequestId requestId, RequestId told, Request storage asked, OutputRoot outputRoot) internal {
        if (asked.callback == address(0)) return;
        _make(
            requestId, asked, abi.encodeCall(IInferenceRootConsumer.onInferenceRoot, (told, asked.modelId, outputRoot))
        );
    }

    function _make(RequestId requestId, Request storage asked, bytes memory call) private {
        (address callback, uint256 callbackGas) = (asked.callback, asked.callbackGas);
        // A call gets at most 63 of 64 parts of the gas that is left. The caller of `finalize` must bring enough, or
        // could deliver past the consumer.
        uint256 needed = callbackGas + callbackGas / CALLED_GAS_PARTS + OVERHEAD_GAS;
        if (gasleft() < needed) revert IInferenceOracle.CallbackGasShort(gasleft(), needed);
        (bool success,, bytes memory reason) = LibCall.tryCall(callback, 0, callbackGas, MAX_REASON_BYTES, call);
        success = success && callback.code.length != 0;
        emit IInferenceOracle.CallbackCalled(requestId, callback, success, success ? bytes("") : reason);
    }
}

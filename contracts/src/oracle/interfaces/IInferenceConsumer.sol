// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {RequestId} from "../../dispute/RequestId.sol";
import {ModelId} from "../ModelId.sol";

/// @title A contract that receives an inference's output
interface IInferenceConsumer {
    /// @notice Called once by the inference oracle, with the gas that the request named.
    /// @param output The output image: big-endian tensors at their places (see the model's `outputs`).
    /// @dev The consumer checks that the caller is its oracle and that the request is its own. What it returns is ignored,
    ///      and if it reverts the output counts as delivered all the same.
    function onInference(RequestId requestId, ModelId modelId, bytes calldata output) external;
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {RequestId} from "../../dispute/RequestId.sol";
import {ModelId} from "../ModelId.sol";
import {OutputRoot} from "../SectionRoot.sol";

/// @title A contract that receives the root of an inference's output
/// @notice The consumer of a request that asked for its output by root. Parts of the output are proven to it later, as it
///         needs them: `ISegmentRoots.outputRootWith`.
interface IInferenceRootConsumer {
    /// @notice Called once by the inference oracle, with the gas that the request named.
    /// @dev The consumer checks that the caller is its oracle and that the request is its own. What it returns is ignored,
    ///      and if it reverts the output counts as delivered all the same.
    function onInferenceRoot(RequestId requestId, ModelId modelId, OutputRoot outputRoot) external;
}

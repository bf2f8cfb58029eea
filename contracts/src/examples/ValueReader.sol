// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {RequestId} from "../dispute/RequestId.sol";
import {ModelId} from "../oracle/ModelId.sol";
import {InputRoot, OutputRoot} from "../oracle/SectionRoot.sol";
import {IInferenceOracle, RequestTerms} from "../oracle/interfaces/IInferenceOracle.sol";
import {IInferenceRootConsumer} from "../oracle/interfaces/IInferenceRootConsumer.sol";
import {ISegmentRoots} from "../oracle/interfaces/ISegmentRoots.sol";

/// @title ValueReader
/// @notice An example consumer of an output that is too large to be sent: it asks for the output's root, and reads parts of
///         the output that any account proves to it.
contract ValueReader is IInferenceRootConsumer {
    /// @notice The root of an output is known.
    event OutputKnown(RequestId indexed requestId, OutputRoot outputRoot);

    /// @notice The caller is not the oracle.
    error NotOracle(address found, address expected);
    /// @notice The request was not made by this contract.
    error NotMyRequest(RequestId requestId);
    /// @notice Nothing was delivered yet.
    error NotDelivered(RequestId requestId);
    /// @notice The part does not stand there.
    error NotInOutput(OutputRoot computed, OutputRoot expected);

    IInferenceOracle public immutable oracle;
    ISegmentRoots public immutable segmentRoots;
    ModelId public immutable modelId;

    /// @notice Gas for `onInferenceRoot`: a root stored, and a log.
    uint64 public constant CALLBACK_GAS = 50_000;

    mapping(RequestId requestId => bool) public asked;
    /// @notice Zero before the delivery.
    mapping(RequestId requestId => OutputRoot) public outputRootOf;

    constructor(IInferenceOracle oracle_, ModelId modelId_) {
        oracle = oracle_;
        segmentRoots = oracle_.segmentRoots();
        modelId = modelId_;
    }

    /// @notice Asks the model about an input. The value sent is the fee.
    /// @param minBond What a proposer has to lock on its answer, in wei.
    function ask(bytes calldata input, uint96 minBond) external payable returns (RequestId requestId) {
        requestId = oracle.request{value: msg.value}(modelId, input, _terms(minBond));
        asked[requestId] = true;
    }

    /// @notice As `ask`, about an input that no transaction can carry.
    /// @param inputUri Where its image is: in parts, in blobs, or elsewhere.
    function askAbout(InputRoot inputRoot, string calldata inputUri, uint96 minBond)
        external
        payable
        returns (RequestId requestId)
    {
        requestId = oracle.requestByRoot{value: msg.value}(modelId, inputRoot, inputUri, _terms(minBond));
        asked[requestId] = true;
    }

    function _terms(uint96 minBond) internal view returns (RequestTerms memory) {
        return RequestTerms(address(this), CALLBACK_GAS, true, minBond, 0);
    }

    function onInferenceRoot(RequestId requestId, ModelId, OutputRoot outputRoot) external {
        if (msg.sender != address(oracle)) revert NotOracle(msg.sender, address(oracle));
        if (!asked[requestId]) revert NotMyRequest(requestId);
        outputRootOf[requestId] = outputRoot;
        emit OutputKnown(requestId, outputRoot);
    }

    /// @notice The big-endian binary32 numbers of a part of the output, as bits. Reverts with NotInOutput unless the part
    ///         stands there.
    /// @param part See `ISegmentRoots.outputRootWith`, like the other two; `opml-dispute output` makes all three.
    function valuesAt(RequestId requestId, bytes calldata part, uint256 offset, bytes32[] calldata siblings)
        external
        view
        returns (uint32[] memory values)
    {
        OutputRoot expected = outputRootOf[requestId];
        if (OutputRoot.unwrap(expected) == bytes32(0)) revert NotDelivered(requestId);
        OutputRoot computed = segmentRoots.outputRootWith(part, offset, siblings);
        if (OutputRoot.unwrap(computed) != OutputRoot.unwrap(expected)) revert NotInOutput(computed, expected);
        values = new uint32[](part.length / 4);
        for (uint256 i = 0; i < values.length; ++i) {
            values[i] = uint32(bytes4(part[4 * i:4 * i + 4]));
        }
    }
}

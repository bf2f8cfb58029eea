// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {RequestId} from "opml-dispute/src/dispute/RequestId.sol";
import {ModelId} from "opml-dispute/src/oracle/ModelId.sol";
import {IInferenceConsumer} from "opml-dispute/src/oracle/interfaces/IInferenceConsumer.sol";
import {IInferenceOracle, RequestTerms} from "opml-dispute/src/oracle/interfaces/IInferenceOracle.sol";

/// @title A bounty for the first image in which a model reads a certain digit
/// @notice A consumer contract: it asks for inferences, is called with their outputs, and acts on them. What it acts on is
///         never one party's word: the oracle calls only after a dispute game about the output was won or never begun.
contract DigitBounty is IInferenceConsumer {
    error NotOracle(address caller);
    error NotOurRequest(RequestId requestId);
    error AlreadyWon();
    error NotWon();

    IInferenceOracle public immutable oracle;
    ModelId public immutable modelId;
    /// @notice The digit that wins.
    uint256 public immutable wanted;
    uint64 public constant CALLBACK_GAS = 150_000;

    /// @notice Who submitted the image of a request; zero once its output was taken.
    mapping(RequestId requestId => address) public submitterOf;
    /// @notice Who may withdraw the bounty; zero until it is won.
    address public winner;

    /// @notice The value sent is the bounty.
    constructor(IInferenceOracle oracle_, ModelId modelId_, uint256 wanted_) payable {
        (oracle, modelId, wanted) = (oracle_, modelId_, wanted_);
    }

    /// @notice Submits an image. The value sent is the fee for the inference.
    function submit(bytes calldata image) external payable returns (RequestId requestId) {
        if (winner != address(0)) revert AlreadyWon();
        RequestTerms memory terms = RequestTerms(address(this), CALLBACK_GAS, false, 0, 0);
        requestId = oracle.request{value: msg.value}(modelId, image, terms);
        submitterOf[requestId] = msg.sender;
    }

    /// @inheritdoc IInferenceConsumer
    function onInference(RequestId requestId, ModelId, bytes calldata output) external {
        // Both checks are needed: anyone can call this function, and anyone can name this contract in a request.
        if (msg.sender != address(oracle)) revert NotOracle(msg.sender);
        address submitter = submitterOf[requestId];
        if (submitter == address(0)) revert NotOurRequest(requestId);
        delete submitterOf[requestId];
        if (winner == address(0) && largest(output) == wanted) winner = submitter;
    }

    /// @notice Pays the winner. Nothing is sent from `onInference`, so no recipient can make the delivery fail.
    function withdraw() external {
        if (winner == address(0)) revert NotWon();
        (bool paid,) = winner.call{value: address(this).balance}("");
        require(paid);
    }

    /// @notice Takes back the fee of a request that was not answered for long; it becomes part of the bounty.
    function reclaim(RequestId requestId) external {
        oracle.reclaimFee(requestId);
    }

    /// @notice The oracle gives fees back here.
    receive() external payable {}

    /// @dev The index of the largest of ten big-endian binary32 that are probabilities: without a sign they compare as their
    ///      bits do.
    function largest(bytes calldata scores) internal pure returns (uint256 best) {
        for (uint256 i = 1; i < 10; ++i) {
            if (uint32(bytes4(scores[4 * i:])) > uint32(bytes4(scores[4 * best:]))) best = i;
        }
    }
}

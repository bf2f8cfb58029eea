// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {RequestId} from "../dispute/RequestId.sol";
import {ModelId} from "../oracle/ModelId.sol";
import {IInferenceConsumer} from "../oracle/interfaces/IInferenceConsumer.sol";
import {IInferenceOracle, RequestTerms} from "../oracle/interfaces/IInferenceOracle.sol";

/// @title DigitReader
/// @notice An example consumer: asks a model what digit an image shows, and keeps the answer. The model puts out ten scores,
///         big-endian binary32, one for each digit.
contract DigitReader is IInferenceConsumer {
    /// @notice A digit was read.
    event DigitRead(RequestId indexed requestId, uint8 digit);

    /// @notice The caller is not the oracle.
    error NotOracle(address found, address expected);
    /// @notice The request was not made by this contract.
    error NotMyRequest(RequestId requestId);
    /// @notice The output is not ten scores.
    error NotTenScores(uint256 outputBytes);
    /// @notice Nothing was read yet.
    error NotRead(RequestId requestId);
    /// @notice The asker does not take its fee back.
    error RefundFailed(address asker);

    IInferenceOracle public immutable oracle;
    ModelId public immutable modelId;

    /// @notice Gas for `onInference`: an answer stored, a log, and room for the loop.
    uint64 public constant CALLBACK_GAS = 150_000;

    uint256 internal constant DIGITS = 10;
    uint256 internal constant SCORE_BYTES = 4;

    uint8 internal constant ASKED = 1;
    uint8 internal constant READ_ZERO = 2;
    /// @dev 0 not asked, ASKED, READ_ZERO + digit once read.
    mapping(RequestId requestId => uint8) internal state;
    /// @notice Who asked, and gets the fee back if nothing is delivered.
    mapping(RequestId requestId => address) public askerOf;

    constructor(IInferenceOracle oracle_, ModelId modelId_) {
        oracle = oracle_;
        modelId = modelId_;
    }

    /// @notice Asks what digit `image` shows. The value sent is the fee.
    /// @param image The model's input image.
    function read(bytes calldata image) external payable returns (RequestId requestId) {
        RequestTerms memory terms = RequestTerms(address(this), CALLBACK_GAS, false, 0, 0);
        requestId = oracle.request{value: msg.value}(modelId, image, terms);
        state[requestId] = ASKED;
        askerOf[requestId] = msg.sender;
    }

    /// @notice Takes the fee of a request without output back, once the oracle gives it, for the account that asked.
    function reclaim(RequestId requestId) external {
        uint256 fee = oracle.requests(requestId).fee;
        oracle.reclaimFee(requestId); // reverts unless the request is this contract's
        address asker = askerOf[requestId];
        (bool success,) = asker.call{value: fee}("");
        if (!success) revert RefundFailed(asker);
    }

    function onInference(RequestId requestId, ModelId, bytes calldata output) external {
        if (msg.sender != address(oracle)) revert NotOracle(msg.sender, address(oracle));
        // A requester chooses model and input, so only this contract's own requests count here.
        if (state[requestId] != ASKED) revert NotMyRequest(requestId);
        if (output.length != DIGITS * SCORE_BYTES) revert NotTenScores(output.length);
        uint8 digit = argmax(output);
        state[requestId] = READ_ZERO + digit;
        emit DigitRead(requestId, digit);
    }

    /// @notice The digit that was read; reverts with NotRead before.
    function digitOf(RequestId requestId) external view returns (uint8) {
        if (state[requestId] < READ_ZERO) revert NotRead(requestId);
        return state[requestId] - READ_ZERO;
    }

    /// @notice The index of the largest of ten big-endian binary32; the first of equals.
    /// @dev The oracle's floats have one NaN, 0x7fc00000, which counts as largest here.
    function argmax(bytes calldata scores) public pure returns (uint8 best) {
        uint32 bestKey = _orderKey(uint32(bytes4(scores[0:SCORE_BYTES])));
        for (uint8 i = 1; i < DIGITS; ++i) {
            uint32 key = _orderKey(uint32(bytes4(scores[SCORE_BYTES * i:SCORE_BYTES * (i + 1)])));
            if (key > bestKey) (best, bestKey) = (i, key);
        }
    }

    /// @dev Numbers that compare as the floats do. A float is sign and magnitude: positive ones compare as their bits,
    ///      above all negative ones, whose bits compare the other way round. Both zeros become one.
    function _orderKey(uint32 bits) internal pure returns (uint32) {
        if (bits == 0x80000000) bits = 0;
        return bits >> 31 == 1 ? ~bits : bits | 0x80000000;
    }

    /// @notice The oracle gives fees back here.
    receive() external payable {
        if (msg.sender != address(oracle)) revert NotOracle(msg.sender, address(oracle));
    }
}

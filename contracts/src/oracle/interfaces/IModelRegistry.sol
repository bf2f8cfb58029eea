// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ModelId} from "../ModelId.sol";
import {ModelRoot} from "../SectionRoot.sol";

/// @notice A model as its registrant describes it.
struct Model {
    /// @notice Root of the lower half of the ML segment, 2^39 bytes: program and weights.
    ModelRoot modelRoot;
    /// @notice The inputs' names, types, shapes and places in the input image, as JSON.
    string inputs;
    /// @notice The outputs', likewise.
    string outputs;
    /// @notice Where the program and its weights can be fetched.
    string uri;
}

/// @notice A registered model: what its registrant said, what its program header proves, and what follows.
struct RegisteredModel {
    ModelRoot modelRoot;
    /// @notice Number of nodes, from the program header.
    uint64 nodeCount;
    /// @notice No node takes more than 2^log2Steps VM steps, from the program header; a node that could is refused and fails.
    uint64 log2Steps;
    /// @notice Size of the input image, from the program header.
    uint64 inputBytes;
    /// @notice Size of the output image, from the program header.
    uint64 outputBytes;
    /// @notice max(2, ceil(log2 nodeCount)).
    uint64 splitDepth;
    /// @notice splitDepth + 1 + log2Steps + 1, rounded up to an even number.
    uint64 maxGameDepth;
    string inputs;
    string outputs;
    string uri;
}

/// @title Models by content
/// @notice Anyone registers any model. A model's id is the hash of all that was said about it, so an id cannot come to mean
///         something else, and no registrant can be kept from registering.
/// @dev Source: docs/game.md, "Models".
interface IModelRegistry {
    event ModelRegistered(
        ModelId indexed modelId, ModelRoot indexed modelRoot, address indexed registrant, RegisteredModel model
    );

    /// @notice The header leaves do not lead to the model root.
    error HeaderProofMismatch(ModelRoot computedRoot, ModelRoot modelRoot);
    /// @notice The program header's first word is not "OPMLPROG".
    error WrongProgramMagic(uint64 found, uint64 expected);
    /// @notice The program header names a format that this contract does not know.
    error WrongProgramVersion(uint64 found, uint64 expected);
    /// @notice The program has no node, or more than its section holds.
    error NodeCountOutOfRange(uint64 found, uint64 min, uint64 max);
    /// @notice The input or output image is larger than its section.
    error ImageTooLarge(uint64 found, uint64 max);
    /// @notice The program allows its nodes fewer or more VM steps than a game can have; logarithms.
    error StepLimitOutOfRange(uint64 found, uint64 min, uint64 max);
    /// @notice No model has this id.
    error UnknownModel(ModelId modelId);

    /// @notice Registers a model. Registering the same again changes nothing and answers the same id.
    /// @param headerLeaves The program header: the first 64 bytes of the segment.
    /// @param headerProof Their 33 siblings, levels 6 to 38, lowest first, up to the model root.
    /// @return modelId keccak256(abi.encode(model)).
    function register(Model calldata model, bytes32[2] calldata headerLeaves, bytes32[33] calldata headerProof)
        external
        returns (ModelId modelId);

    /// @notice A registered model; reverts with UnknownModel if there is none.
    function models(ModelId modelId) external view returns (RegisteredModel memory);

    function isRegistered(ModelId modelId) external view returns (bool);

    /// @notice What a request needs of a model; reverts with UnknownModel if there is none.
    function parameters(ModelId modelId)
        external
        view
        returns (
            ModelRoot modelRoot,
            uint64 nodeCount,
            uint64 inputBytes,
            uint64 outputBytes,
            uint64 splitDepth,
            uint64 maxGameDepth
        );

    /// @notice How deep a game about a batch of inferences goes; reverts with UnknownModel if there is no such model.
    /// @param itemCount 1 to 256.
    function batchDepths(ModelId modelId, uint64 itemCount)
        external
        view
        returns (uint64 splitDepth, uint64 maxGameDepth);

    /// @notice The id that a model has or would have.
    function modelIdOf(Model calldata model) external pure returns (ModelId);

    /// @notice Number of registered models.
    function modelCount() external view returns (uint256);

    /// @notice The id of the index-th model ever registered.
    function modelIdAtIndex(uint256 index) external view returns (ModelId);
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";
import {ModelId} from "./ModelId.sol";
import {ModelRoot} from "./SectionRoot.sol";
import {SegmentTree} from "./SegmentTree.sol";
import {IModelRegistry, Model, RegisteredModel} from "./interfaces/IModelRegistry.sol";

/// @title ModelRegistry
/// @notice See IModelRegistry. What decides games is not taken on trust: node count, step limit and image sizes are read from
///         the program header, which is proven against the model root.
contract ModelRegistry is IModelRegistry {
    /// @notice A program of 2^37 bytes holds the header and this many node records.
    uint64 public constant MAX_NODE_COUNT = uint64(2 ** SegmentTree.LOG2_PROGRAM / SegmentTree.RECORD_BYTES - 1);
    /// @notice Logarithms of the least and the most VM steps that a program may allow its nodes. The transition refuses others
    ///         as well, and every node that could take more than its program allows: native/program/transition.c.
    uint64 public constant MIN_LOG2_STEPS = 16;
    uint64 public constant MAX_LOG2_STEPS = 40;
    /// @notice A trace has room for 2^this times the steps that a node may take.
    uint64 public constant LOG2_STEPS_MARGIN = 1;

    mapping(ModelId modelId => RegisteredModel) internal registered;
    ModelId[] internal modelIds;

    function register(Model calldata model, bytes32[2] calldata headerLeaves, bytes32[33] calldata headerProof)
        external
        returns (ModelId modelId)
    {
        modelId = modelIdOf(model);
        if (isRegistered(modelId)) return modelId;

        ModelRoot root = SegmentTree.modelRootOf(headerLeaves, headerProof);
        if (root != model.modelRoot) revert HeaderProofMismatch(root, model.modelRoot);
        (uint64 nodeCount, uint64 log2Steps, uint64 inputBytes, uint64 outputBytes) = _readHeader(headerLeaves);
        (uint64 splitDepth, uint64 maxGameDepth) = gameDepths(nodeCount, log2Steps);

        RegisteredModel memory entry = RegisteredModel({
            modelRoot: model.modelRoot,
            nodeCount: nodeCount,
            log2Steps: log2Steps,
            inputBytes: inputBytes,
            outputBytes: outputBytes,
            splitDepth: splitDepth,
            maxGameDepth: maxGameDepth,
            inputs: model.inputs,
            outputs: model.outputs,
            uri: model.uri
        });
        registered[modelId] = entry;
        modelIds.push(modelId);
        emit ModelRegistered(modelId, model.modelRoot, msg.sender, entry);
    }

    /// @dev The program header, big-endian: magic u64, version u64, node count u64, log2 steps u64; input bytes u64, output bytes
    ///      u64, rest zero.
    function _readHeader(bytes32[2] calldata leaves)
        internal
        pure
        returns (uint64 nodeCount, uint64 log2Steps, uint64 inputBytes, uint64 outputBytes)
    {
        uint64 magic = uint64(uint256(leaves[0]) >> 192);
        if (magic != SegmentTree.PROGRAM_MAGIC) revert WrongProgramMagic(magic, SegmentTree.PROGRAM_MAGIC);
        uint64 formatVersion = uint64(uint256(leaves[0]) >> 128);
        if (formatVersion != SegmentTree.PROGRAM_VERSION) {
            revert WrongProgramVersion(formatVersion, SegmentTree.PROGRAM_VERSION);
        }
        nodeCount = uint64(uint256(leaves[0]) >> 64);
        if (nodeCount == 0 || nodeCount > MAX_NODE_COUNT) revert NodeCountOutOfRange(nodeCount, 1, MAX_NODE_COUNT);
        log2Steps = uint64(uint256(leaves[0]));
        if (log2Steps < MIN_LOG2_STEPS || log2Steps > MAX_LOG2_STEPS) {
            revert StepLimitOutOfRange(log2Steps, MIN_LOG2_STEPS, MAX_LOG2_STEPS);
        }
        inputBytes = uint64(uint256(leaves[1]) >> 192);
        if (inputBytes > 2 ** SegmentTree.LOG2_INPUT) {
            revert ImageTooLarge(inputBytes, uint64(2 ** SegmentTree.LOG2_INPUT));
        }
        outputBytes = uint64(uint256(leaves[1]) >> 128);
        if (outputBytes > 2 ** SegmentTree.LOG2_OUTPUT) {
            revert ImageTooLarge(outputBytes, uint64(2 ** SegmentTree.LOG2_OUTPUT));
        }
    }

    /// @notice How deep a game about a model goes.
    /// @param nodeCount At least 1; of a batch, the nodes of all items.
    /// @param log2Steps No node takes more than 2^log2Steps VM steps. At most MAX_LOG2_STEPS.
    /// @return splitDepth At least 2; 2^splitDepth leaves hold the state roots S_1 to S_n.
    /// @return maxGameDepth Even; 2^(maxGameDepth - splitDepth - 1) leaves hold the VM states after 1 to 2^log2Steps steps,
    ///         and at least as many again.
    function gameDepths(uint64 nodeCount, uint64 log2Steps)
        public
        pure
        returns (uint64 splitDepth, uint64 maxGameDepth)
    {
        uint256 split = FixedPointMathLib.max(2, FixedPointMathLib.log2Up(nodeCount));
        uint256 deepest = split + 1 + log2Steps + LOG2_STEPS_MARGIN;
        // Even, so that the deepest claims belong to the root claim's side. At most 36 + 1 + 40 + 1: 78.
        return (uint64(split), uint64(deepest + deepest % 2));
    }

    function models(ModelId modelId) external view returns (RegisteredModel memory) {
        if (!isRegistered(modelId)) revert UnknownModel(modelId);
        return registered[modelId];
    }

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
        )
    {
        if (!isRegistered(modelId)) revert UnknownModel(modelId);
        RegisteredModel storage model = registered[modelId];
        return
            (
                model.modelRoot,
                model.nodeCount,
                model.inputBytes,
                model.outputBytes,
                model.splitDepth,
                model.maxGameDepth
            );
    }

    function batchDepths(ModelId modelId, uint64 itemCount)
        external
        view
        returns (uint64 splitDepth, uint64 maxGameDepth)
    {
        if (!isRegistered(modelId)) revert UnknownModel(modelId);
        RegisteredModel storage model = registered[modelId];
        return gameDepths(model.nodeCount * itemCount, model.log2Steps); // < 2^28 * 2^8 nodes
    }

    function isRegistered(ModelId modelId) public view returns (bool) {
        // INVARIANT: a registered model has a node.
        return registered[modelId].nodeCount != 0;
    }

    function modelIdOf(Model calldata model) public pure returns (ModelId) {
        return ModelId.wrap(keccak256(abi.encode(model)));
    }

    function modelCount() external view returns (uint256) {
        return modelIds.length;
    }

    function modelIdAtIndex(uint256 index) external view returns (ModelId) {
        return modelIds[index];
    }
}

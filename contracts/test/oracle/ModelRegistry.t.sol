// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {OracleFixture} from "./helpers/OracleFixture.sol";
import {IModelRegistry, Model, RegisteredModel} from "../../src/oracle/interfaces/IModelRegistry.sol";
import {ModelId} from "../../src/oracle/ModelId.sol";
import {ModelRoot} from "../../src/oracle/SectionRoot.sol";

/// @notice Models: what is proven, what is taken on trust, what is refused.
contract ModelRegistryTest is OracleFixture {
    function registerHeader(bytes32[2] memory leaves) internal returns (ModelId) {
        Model memory model = describe(modelRootOf(leaves, headerProof()));
        return models.register(model, leaves, headerProof());
    }

    function test_register_keepsWhatTheHeaderProves() public {
        bytes32[2] memory leaves = headerLeaves(5, 25, 12, 2 ** 36);
        Model memory model = describe(modelRootOf(leaves, headerProof()));
        ModelId id = ModelId.wrap(keccak256(abi.encode(model)));
        RegisteredModel memory expected = RegisteredModel({
            modelRoot: model.modelRoot,
            nodeCount: 5,
            log2Steps: 25,
            inputBytes: 12,
            outputBytes: 2 ** 36,
            splitDepth: 3,
            maxGameDepth: 30,
            inputs: model.inputs,
            outputs: model.outputs,
            uri: model.uri
        });
        vm.expectEmit(address(models));
        emit IModelRegistry.ModelRegistered(id, model.modelRoot, address(this), expected);
        vm.assertEq(models.register(model, leaves, headerProof()).raw(), id.raw());
        vm.assertEq(models.modelIdOf(model).raw(), id.raw());
        vm.assertTrue(models.isRegistered(id));
        vm.assertEq(abi.encode(models.models(id)), abi.encode(expected));
        (ModelRoot root, uint64 nodes, uint64 inputs, uint64 outputs, uint64 split, uint64 max) = models.parameters(id);
        vm.assertEq(
            abi.encode(root, nodes, inputs, outputs, split, max),
            abi.encode(model.modelRoot, uint64(5), uint64(12), uint64(2 ** 36), uint64(3), uint64(30))
        );
        vm.assertEq(models.modelCount(), 2);
        vm.assertEq(models.modelIdAtIndex(1).raw(), id.raw());
    }

    /// @notice Registering twice is harmless, so a registrant cannot harm another by being first.
    function test_register_twiceIsOnce() public {
        vm.assertEq(register(NODES, 16).raw(), modelId.raw());
        vm.assertEq(models.modelCount(), 1);
    }

    /// @notice Everything said about a model is part of its id.
    function test_modelId_coversAllContent() public view {
        Model memory model = describe(ModelRoot.wrap("root"));
        ModelId id = models.modelIdOf(model);
        model.modelRoot = ModelRoot.wrap("other");
        vm.assertNotEq(models.modelIdOf(model).raw(), id.raw());
        model = describe(ModelRoot.wrap("root"));
        model.inputs = "other";
        vm.assertNotEq(models.modelIdOf(model).raw(), id.raw());
        model = describe(ModelRoot.wrap("root"));
        model.outputs = "other";
        vm.assertNotEq(models.modelIdOf(model).raw(), id.raw());
        model = describe(ModelRoot.wrap("root"));
        model.uri = "other";
        vm.assertNotEq(models.modelIdOf(model).raw(), id.raw());
    }

    /// @notice Neither a leaf nor a sibling can be another.
    function testFuzz_register_refusesATamperedProof(uint256 where, uint8 bit) public {
        bytes32[2] memory leaves = headerLeaves(7, 16, 1, 1);
        bytes32[33] memory proof = headerProof();
        Model memory model = describe(modelRootOf(leaves, proof));
        where = bound(where, 0, 34);
        bytes32 flip = bytes32(uint256(1) << bit);
        if (where < 2) leaves[where] ^= flip;
        else proof[where - 2] ^= flip;
        vm.expectRevert(
            abi.encodeWithSelector(
                IModelRegistry.HeaderProofMismatch.selector, modelRootOf(leaves, proof), model.modelRoot
            )
        );
        models.register(model, leaves, proof);
    }

    function test_register_refusesBadHeaders() public {
        bytes32[2] memory leaves = headerLeaves(7, 16, 1, 1);
        leaves[0] ^= bytes32(uint256(1) << 192);
        vm.expectRevert(
            abi.encodeWithSelector(
                IModelRegistry.WrongProgramMagic.selector, uint64(bytes8("OPMLPROF")), uint64(bytes8("OPMLPROG"))
            )
        );
        registerHeader(leaves);

        leaves = headerLeaves(7, 16, 1, 1);
        leaves[0] ^= bytes32(uint256(3) << 128);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.WrongProgramVersion.selector, 1, 2));
        registerHeader(leaves);

        uint64 most = uint64(2 ** 28 - 1);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.NodeCountOutOfRange.selector, 0, 1, most));
        registerHeader(headerLeaves(0, 16, 1, 1));
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.NodeCountOutOfRange.selector, most + 1, 1, most));
        registerHeader(headerLeaves(most + 1, 16, 1, 1));
        registerHeader(headerLeaves(most, 16, 1, 1));

        uint64 large = uint64(2 ** 36);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ImageTooLarge.selector, large + 1, large));
        registerHeader(headerLeaves(7, 16, large + 1, 1));
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ImageTooLarge.selector, large + 1, large));
        registerHeader(headerLeaves(7, 16, 1, large + 1));
        registerHeader(headerLeaves(7, 16, large, large));

        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.StepLimitOutOfRange.selector, 15, 16, 40));
        registerHeader(headerLeaves(7, 15, 1, 1));
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.StepLimitOutOfRange.selector, 41, 16, 40));
        registerHeader(headerLeaves(7, 41, 1, 1));
        registerHeader(headerLeaves(7, 40, 1, 1));
    }

    function test_unknownModel() public {
        vm.assertFalse(models.isRegistered(ModelId.wrap("no")));
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.UnknownModel.selector, bytes32("no")));
        models.models(ModelId.wrap("no"));
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.UnknownModel.selector, bytes32("no")));
        models.parameters(ModelId.wrap("no"));
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.UnknownModel.selector, bytes32("no")));
        models.batchDepths(ModelId.wrap("no"), 2);
    }

    function test_gameDepths_table() public view {
        // node count, log2 steps, split depth, max depth
        uint64[4][7] memory rows = [
            [uint64(1), 16, 2, 20],
            [uint64(4), 17, 2, 22], // 2 + 1 + 18 is odd
            [uint64(5), 16, 3, 22], // 3 + 1 + 17 is odd
            [uint64(8), 24, 3, 30],
            [uint64(9), 24, 4, 30],
            [uint64(1 << 20), 30, 20, 52],
            [uint64(2 ** 28 - 1), 40, 28, 70]
        ];
        for (uint256 i = 0; i < rows.length; ++i) {
            (uint64 split, uint64 max) = models.gameDepths(rows[i][0], rows[i][1]);
            vm.assertEq(split, rows[i][2]);
            vm.assertEq(max, rows[i][3]);
        }
    }

    /// @notice Whatever is registered, both traces fit, the VM's twice over, the depth is even, and no level is wasted but for
    ///         that.
    function testFuzz_gameDepths(uint64 nodes, uint64 log2Steps) public view {
        nodes = uint64(bound(nodes, 1, 2 ** 28 - 1));
        log2Steps = uint64(bound(log2Steps, 16, 40));
        (uint64 split, uint64 max) = models.gameDepths(nodes, log2Steps);
        vm.assertGe(split, 2);
        vm.assertGe(uint256(1) << split, nodes);
        if (split > 2) vm.assertLt(uint256(1) << (split - 1), nodes);
        uint256 exec = max - split - 1;
        vm.assertGe(exec, log2Steps + 1);
        vm.assertLe(exec, log2Steps + 2);
        vm.assertEq(max % 2, 0);
        vm.assertLe(max, 90);
    }
}

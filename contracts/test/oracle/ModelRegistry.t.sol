// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {OracleFixture} from "./helpers/OracleFixture.sol";
import {IModelRegistry, Model, RegisteredModel} from "../../src/oracle/interfaces/IModelRegistry.sol";

/// @notice Models: what is proven, what is taken on trust, what is refused.
contract ModelRegistryTest is OracleFixture {
    function registerHeader(bytes32[2] memory leaves) internal returns (bytes32) {
        Model memory model = describe(modelRootOf(leaves, headerProof()), 8);
        return models.register(model, leaves, headerProof());
    }

    function test_register_keepsWhatTheHeaderProves() public {
        bytes32[2] memory leaves = headerLeaves(5, 12, 2 ** 36);
        Model memory model = describe(modelRootOf(leaves, headerProof()), 1 << 26);
        bytes32 id = keccak256(abi.encode(model));
        RegisteredModel memory expected = RegisteredModel({
            modelRoot: model.modelRoot,
            stepBound: 1 << 26,
            nodeCount: 5,
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
        vm.assertEq(models.register(model, leaves, headerProof()), id);
        vm.assertEq(models.modelIdOf(model), id);
        vm.assertTrue(models.isRegistered(id));
        vm.assertEq(abi.encode(models.models(id)), abi.encode(expected));
        (bytes32 root, uint64 nodes, uint64 inputs, uint64 outputs, uint64 split, uint64 max) = models.parameters(id);
        vm.assertEq(
            abi.encode(root, nodes, inputs, outputs, split, max),
            abi.encode(model.modelRoot, uint64(5), uint64(12), uint64(2 ** 36), uint64(3), uint64(30))
        );
        vm.assertEq(models.modelCount(), 2);
        vm.assertEq(models.modelIdAtIndex(1), id);
    }

    /// @notice Registering twice is harmless, so nobody can spoil it for another by being first.
    function test_register_twiceIsOnce() public {
        vm.assertEq(register(NODES, 8), modelId);
        vm.assertEq(models.modelCount(), 1);
    }

    /// @notice Everything said about a model is part of its id.
    function test_modelId_coversAllContent() public view {
        Model memory model = describe("root", 8);
        bytes32 id = models.modelIdOf(model);
        model.modelRoot = "other";
        vm.assertNotEq(models.modelIdOf(model), id);
        model = describe("root", 9);
        vm.assertNotEq(models.modelIdOf(model), id);
        model = describe("root", 8);
        model.inputs = "other";
        vm.assertNotEq(models.modelIdOf(model), id);
        model = describe("root", 8);
        model.outputs = "other";
        vm.assertNotEq(models.modelIdOf(model), id);
        model = describe("root", 8);
        model.uri = "other";
        vm.assertNotEq(models.modelIdOf(model), id);
    }

    /// @notice Neither a leaf nor a sibling can be another.
    function testFuzz_register_refusesATamperedProof(uint256 where, uint8 bit) public {
        bytes32[2] memory leaves = headerLeaves(7, 1, 1);
        bytes32[33] memory proof = headerProof();
        Model memory model = describe(modelRootOf(leaves, proof), 8);
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
        bytes32[2] memory leaves = headerLeaves(7, 1, 1);
        leaves[0] ^= bytes32(uint256(1) << 192);
        vm.expectRevert(
            abi.encodeWithSelector(
                IModelRegistry.WrongProgramMagic.selector, uint64(bytes8("OPMLPROF")), uint64(bytes8("OPMLPROG"))
            )
        );
        registerHeader(leaves);

        leaves = headerLeaves(7, 1, 1);
        leaves[0] ^= bytes32(uint256(3) << 128);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.WrongProgramVersion.selector, 2, 1));
        registerHeader(leaves);

        uint64 most = uint64(2 ** 28 - 1);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.NodeCountOutOfRange.selector, 0, 1, most));
        registerHeader(headerLeaves(0, 1, 1));
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.NodeCountOutOfRange.selector, most + 1, 1, most));
        registerHeader(headerLeaves(most + 1, 1, 1));
        registerHeader(headerLeaves(most, 1, 1));

        uint64 large = uint64(2 ** 36);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ImageTooLarge.selector, large + 1, large));
        registerHeader(headerLeaves(7, large + 1, 1));
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ImageTooLarge.selector, large + 1, large));
        registerHeader(headerLeaves(7, 1, large + 1));

        leaves = headerLeaves(7, 1, 1);
        Model memory model = describe(modelRootOf(leaves, headerProof()), 0);
        vm.expectRevert(IModelRegistry.ZeroStepBound.selector);
        models.register(model, leaves, headerProof());
    }

    function test_unknownModel() public {
        vm.assertFalse(models.isRegistered("no"));
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.UnknownModel.selector, bytes32("no")));
        models.models("no");
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.UnknownModel.selector, bytes32("no")));
        models.parameters("no");
    }

    function test_gameDepths_table() public view {
        // node count, step bound, split depth, max depth
        uint64[4][8] memory rows = [
            [uint64(1), 1, 2, 4],
            [uint64(4), 2, 2, 4],
            [uint64(5), 2, 3, 6],
            [uint64(4), 3, 2, 6], // 2 + 1 + 2 is odd
            [uint64(8), 1 << 26, 3, 30],
            [uint64(9), (1 << 26) + 1, 4, 32],
            [uint64(1 << 20), 1 << 30, 20, 52],
            [uint64(2 ** 28 - 1), type(uint64).max, 28, 94]
        ];
        for (uint256 i = 0; i < rows.length; ++i) {
            (uint64 split, uint64 max) = models.gameDepths(rows[i][0], rows[i][1]);
            vm.assertEq(split, rows[i][2]);
            vm.assertEq(max, rows[i][3]);
        }
    }

    /// @notice Whatever is registered, both traces fit, the depth is even, and no level is wasted but for that.
    function testFuzz_gameDepths(uint64 nodes, uint64 stepBound) public view {
        nodes = uint64(bound(nodes, 1, 2 ** 28 - 1));
        stepBound = uint64(bound(stepBound, 1, type(uint64).max));
        (uint64 split, uint64 max) = models.gameDepths(nodes, stepBound);
        vm.assertGe(split, 2);
        vm.assertGe(uint256(1) << split, nodes);
        if (split > 2) vm.assertLt(uint256(1) << (split - 1), nodes);
        uint256 exec = max - split - 1;
        vm.assertGe(exec, 1);
        vm.assertGe(uint256(1) << exec, stepBound);
        vm.assertEq(max % 2, 0);
        if (exec > 2) vm.assertLt(uint256(1) << (exec - 2), stepBound);
        vm.assertLe(max, 125);
    }
}

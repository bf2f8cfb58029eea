// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Test} from "../Test.sol";
import {randomBytes} from "./helpers/RandomBytes.sol";
import {SlowTree} from "./helpers/SlowTree.sol";
import {SegmentTree} from "../../src/oracle/SegmentTree.sol";
import {StateRoot} from "../../src/dispute/StateRoot.sol";
import {ArenaRoot, HeaderRoot, InputRoot, ModelRoot, OutputRoot} from "../../src/oracle/SectionRoot.sol";

/// @notice The segment's tree against the slow way: every leaf of a small subtree hashed, level by level.
contract SegmentTreeTest is Test {
    function imageRoot(bytes calldata image, uint256 log2Size) external pure returns (bytes32) {
        return SegmentTree.imageRoot(image, log2Size);
    }

    function finalRoot(ModelRoot modelRoot, uint64 nodes, InputRoot inputRoot, bytes calldata output, ArenaRoot arena)
        external
        pure
        returns (StateRoot)
    {
        OutputRoot outputRoot = OutputRoot.wrap(SegmentTree.imageRoot(output, 36));
        return SegmentTree.finalRoot(modelRoot, nodes, inputRoot, outputRoot, arena);
    }

    function modelRootOf(bytes32[2] calldata leaves, bytes32[33] calldata proof) external pure returns (ModelRoot) {
        return SegmentTree.modelRootOf(leaves, proof);
    }

    function test_zeroRoot_isHashedZeros() public pure {
        bytes32 root = 0;
        for (uint256 level = 5; level <= 63; ++level) {
            vm.assertEq(SegmentTree.zeroRoot(level), root);
            root = keccak256(abi.encode(root, root));
        }
    }

    function test_imageRoot_everySizeOfASmallTree() public view {
        for (uint256 size = 0; size <= 256; ++size) {
            bytes memory image = randomBytes(size, size);
            vm.assertEq(this.imageRoot(image, 8), SlowTree.root(image, 8));
            vm.assertEq(this.imageRoot(image, 11), SlowTree.root(image, 11));
        }
    }

    function test_imageRoot_ofALeaf() public view {
        vm.assertEq(this.imageRoot(hex"0102", 5), bytes32(hex"0102"));
        vm.assertEq(this.imageRoot("", 5), bytes32(0));
    }

    function test_imageRoot_ofNothingIsTheZeroRoot() public view {
        vm.assertEq(this.imageRoot("", 36), SegmentTree.zeroRoot(36));
        vm.assertEq(this.imageRoot(new bytes(1000), 36), SegmentTree.zeroRoot(36));
    }

    function testFuzz_imageRoot(uint256 seed, uint256 size, uint256 log2Size) public view {
        log2Size = bound(log2Size, 5, 13);
        bytes memory image = randomBytes(bound(size, 0, 2 ** log2Size), seed);
        vm.assertEq(this.imageRoot(image, log2Size), SlowTree.root(image, log2Size));
    }

    /// @notice A larger tree is the smaller one and zeros.
    function testFuzz_imageRoot_grows(uint256 seed, uint256 size) public view {
        bytes memory image = randomBytes(bound(size, 0, 4096), seed);
        bytes32 root = SlowTree.root(image, 12);
        for (uint256 level = 12; level < 36; ++level) {
            root = keccak256(abi.encode(root, SegmentTree.zeroRoot(level)));
        }
        vm.assertEq(this.imageRoot(image, 36), root);
    }

    /// @notice It works in memory that was used before, and leaves other memory alone.
    function test_imageRoot_mindsMemory() public view {
        bytes memory image = randomBytes(33, 1);
        bytes32 expected = SlowTree.root(image, 8);
        assembly ("memory-safe") {
            let free := mload(0x40)
            for { let i := 0 } lt(i, 0x1000) { i := add(i, 0x20) } { mstore(add(free, i), not(0)) }
        }
        vm.assertEq(this.dirtyImageRoot(image), expected);
    }

    function dirtyImageRoot(bytes calldata image) external pure returns (bytes32 root) {
        bytes memory before = abi.encodePacked(keccak256("kept"));
        assembly ("memory-safe") {
            let free := mload(0x40)
            for { let i := 0 } lt(i, 0x1000) { i := add(i, 0x20) } { mstore(add(free, i), not(0)) }
        }
        root = SegmentTree.imageRoot(image, 8);
        vm.assertEq(before, abi.encodePacked(keccak256("kept")));
        vm.assertEq(new bytes(64), abi.encode(0, 0)); // new memory is zero all the same
    }

    function testFuzz_headerRoot(uint64 nodeIndex, uint64 status, uint64 faultNode) public view {
        bytes memory header = abi.encodePacked("OPMLSTAT", nodeIndex, status, faultNode);
        vm.assertEq(HeaderRoot.unwrap(SegmentTree.headerRoot(nodeIndex, status, faultNode)), this.imageRoot(header, 37));
    }

    /// @notice The five parts stand where the map says, seen from each part: its path of left and right turns.
    function test_stateRoot_placesTheParts() public pure {
        bytes32[5] memory parts = [bytes32("model"), "header", "input", "output", "arena"];
        bytes32 root = rootOf(parts);
        bytes32 io = keccak256(abi.encode(parts[2], parts[3]));
        bytes32 low = keccak256(abi.encode(parts[1], io));
        bytes32 upper = keccak256(abi.encode(low, parts[4]));
        vm.assertEq(root, keccak256(abi.encode(parts[0], upper)));
        // Offsets 0x80.., 0xA0.., 0xB0.., 0xC0.. of 2^40, by their top bits.
        vm.assertEq(SlowTree.rootFromProof(parts[0], 0x00_0000_0000 >> 39, list(upper)), root);
        vm.assertEq(SlowTree.rootFromProof(parts[1], 0x80_0000_0000 >> 37, list(io, parts[4], parts[0])), root);
        vm.assertEq(
            SlowTree.rootFromProof(parts[2], 0xA0_0000_0000 >> 36, list(parts[3], parts[1], parts[4], parts[0])), root
        );
        vm.assertEq(
            SlowTree.rootFromProof(parts[3], 0xB0_0000_0000 >> 36, list(parts[2], parts[1], parts[4], parts[0])), root
        );
        vm.assertEq(SlowTree.rootFromProof(parts[4], 0xC0_0000_0000 >> 38, list(low, parts[0])), root);
    }

    function test_initialAndFinalRoot() public view {
        bytes memory output = randomBytes(40, 7);
        bytes32 z36 = SegmentTree.zeroRoot(36);
        bytes32 z38 = SegmentTree.zeroRoot(38);
        bytes32 begun = HeaderRoot.unwrap(SegmentTree.headerRoot(0, 0, 0));
        bytes32 done = HeaderRoot.unwrap(SegmentTree.headerRoot(9, 0, 0));
        ModelRoot model = ModelRoot.wrap("model");
        InputRoot input = InputRoot.wrap("input");
        vm.assertEq(SegmentTree.initialRoot(model, input).raw(), rootOf([bytes32("model"), begun, "input", z36, z38]));
        vm.assertEq(
            this.finalRoot(model, 9, input, output, ArenaRoot.wrap("arena")).raw(),
            rootOf([bytes32("model"), done, "input", this.imageRoot(output, 36), "arena"])
        );
    }

    /// @notice The root made of model, header, input, output and arena.
    function rootOf(bytes32[5] memory parts) internal pure returns (bytes32) {
        return SegmentTree.stateRoot(
                ModelRoot.wrap(parts[0]),
                HeaderRoot.wrap(parts[1]),
                InputRoot.wrap(parts[2]),
                OutputRoot.wrap(parts[3]),
                ArenaRoot.wrap(parts[4])
            ).raw();
    }

    function testFuzz_modelRootOf(bytes32[2] calldata leaves, bytes32[33] calldata proof) public view {
        bytes32[] memory siblings = new bytes32[](34);
        siblings[0] = leaves[1];
        for (uint256 i = 0; i < 33; ++i) {
            siblings[i + 1] = proof[i];
        }
        vm.assertEq(ModelRoot.unwrap(this.modelRootOf(leaves, proof)), SlowTree.rootFromProof(leaves[0], 0, siblings));
    }

    function list(bytes32 a) internal pure returns (bytes32[] memory l) {
        l = new bytes32[](1);
        l[0] = a;
    }

    function list(bytes32 a, bytes32 b) internal pure returns (bytes32[] memory l) {
        l = new bytes32[](2);
        (l[0], l[1]) = (a, b);
    }

    function list(bytes32 a, bytes32 b, bytes32 c) internal pure returns (bytes32[] memory l) {
        l = new bytes32[](3);
        (l[0], l[1], l[2]) = (a, b, c);
    }

    function list(bytes32 a, bytes32 b, bytes32 c, bytes32 d) internal pure returns (bytes32[] memory l) {
        l = new bytes32[](4);
        (l[0], l[1], l[2], l[3]) = (a, b, c, d);
    }
}

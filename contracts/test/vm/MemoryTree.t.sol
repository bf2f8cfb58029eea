// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Frame, IS_ML} from "../../src/vm/Frame.sol";
import {MemoryTree, Proof} from "../../src/vm/MemoryTree.sol";
import {State} from "../../src/vm/State.sol";
import {MemoryProofMismatch, ProofBitmapInvalid, ProofTooShort} from "../../src/vm/VmErrors.sol";
import {ZeroRoots} from "../../src/vm/ZeroRoots.sol";
import {Test} from "../Test.sol";
import {Witnesses} from "./helpers/Witnesses.sol";

/// @notice Lets a test call the library as a step does, with a proof in calldata and a fresh frame.
contract MemoryTreeCaller {
    function verify(bytes32 root, bytes calldata proof, uint64 addr, uint256 log2Size) external pure returns (bytes32) {
        Frame.open();
        Frame.setWord(IS_ML, 1); // whose refusals tell what was found
        Frame.setWord(State.MEMORY_ROOT, uint256(root));
        MemoryTree.open(proof);
        Proof part = MemoryTree.next(log2Size);
        MemoryTree.verify(part, addr, log2Size);
        return part.node();
    }

    function put(bytes32 root, bytes calldata proof, uint64 addr, uint256 log2Size, bytes32 node)
        external
        pure
        returns (bytes32)
    {
        Frame.open();
        Frame.setWord(IS_ML, 1); // whose refusals tell what was found
        Frame.setWord(State.MEMORY_ROOT, uint256(root));
        MemoryTree.open(proof);
        MemoryTree.put(MemoryTree.next(log2Size), addr, log2Size, node);
        return State.memoryRoot();
    }
}

/// @notice The Merkle walk against the slow obvious version, in both encodings, for every height of subtree.
contract MemoryTreeTest is Test {
    MemoryTreeCaller internal tree;

    function setUp() public {
        tree = new MemoryTreeCaller();
    }

    /// @dev A subtree somewhere, its siblings dense or zero as the bits of `density` say.
    function example(bytes32 seed, uint64 density, uint64 addr, uint256 log2Size)
        internal
        pure
        returns (bytes32[] memory proof, uint64 aligned, uint256 height)
    {
        height = 5 + log2Size % 59;
        aligned = uint64((uint256(addr) >> height) << height);
        proof = new bytes32[](65 - height);
        proof[0] = keccak256(abi.encode(seed));
        for (uint256 i = 1; i < proof.length; ++i) {
            bool isDense = (density >> (i - 1)) & 1 == 1;
            proof[i] = isDense ? keccak256(abi.encode(seed, i)) : Witnesses.zeroRoot(height + i - 1);
        }
    }

    function test_zeroRoots_areTheHashes() public pure {
        uint256 table = ZeroRoots.load();
        bytes32 expected;
        for (uint256 i = 0; i < ZeroRoots.LEVELS; ++i) {
            vm.assertEq(bytes32(Frame.word(table + 32 * i)), expected);
            expected = keccak256(abi.encode(expected, expected));
        }
        vm.assertEq(ZeroRoots.LEVELS, 59);
    }

    function test_zeroMemory_hasItsCheckValue() public pure {
        vm.assertEq(Witnesses.zeroRoot(64), 0x14af5385bcbb1e4738bbae8106046e6e2fca42875aa5c000c582587742bcc748);
    }

    function testFuzz_verify_acceptsWhatTheSlowWalkSays(bytes32 seed, uint64 density, uint64 where, uint256 size)
        public
        view
    {
        (bytes32[] memory proof, uint64 addr, uint256 height) = example(seed, density, where, size);
        bytes32 root = Witnesses.rootUpTo(proof, addr, height, 64);
        vm.assertEq(tree.verify(root, abi.encodePacked(proof), addr, height), proof[0]);
        vm.assertEq(tree.verify(root, _compact(proof, height), addr, height), proof[0]);
    }

    function testFuzz_put_movesTheRootAsTheSlowWalkDoes(
        bytes32 seed,
        uint64 density,
        uint64 where,
        uint256 size,
        bytes32 node
    ) public view {
        (bytes32[] memory proof, uint64 addr, uint256 height) = example(seed, density, where, size);
        bytes32 root = Witnesses.rootUpTo(proof, addr, height, 64);
        bytes memory full = abi.encodePacked(proof);
        bytes memory compact = _compact(proof, height);
        proof[0] = node;
        bytes32 expected = Witnesses.rootUpTo(proof, addr, height, 64);
        vm.assertEq(tree.put(root, full, addr, height, node), expected);
        vm.assertEq(tree.put(root, compact, addr, height, node), expected);
    }

    function testFuzz_flippedBit_isRefused(bytes32 seed, uint64 where, uint256 size, uint256 bit) public {
        (bytes32[] memory proof, uint64 addr, uint256 height) = example(seed, type(uint64).max, where, size);
        bytes32 root = Witnesses.rootUpTo(proof, addr, height, 64);
        bytes memory full = abi.encodePacked(proof);
        bit = bit % (8 * full.length);
        full[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
        vm.expectPartialRevert(MemoryProofMismatch.selector);
        tree.verify(root, full, addr, height);
        vm.expectPartialRevert(MemoryProofMismatch.selector);
        tree.put(root, full, addr, height, seed);
    }

    function testFuzz_otherAddress_isRefused(bytes32 seed, uint64 where, uint256 size, uint256 level) public {
        (bytes32[] memory proof, uint64 addr, uint256 height) = example(seed, type(uint64).max, where, size);
        bytes32 root = Witnesses.rootUpTo(proof, addr, height, 64);
        uint64 elsewhere = addr ^ uint64(1 << (height + level % (64 - height)));
        vm.expectPartialRevert(MemoryProofMismatch.selector);
        tree.verify(root, abi.encodePacked(proof), elsewhere, height);
    }

    function testFuzz_shortProof_isRefused(bytes32 seed, uint64 density, uint64 where, uint256 size, uint256 length)
        public
    {
        (bytes32[] memory proof, uint64 addr, uint256 height) = example(seed, density, where, size);
        bytes32 root = Witnesses.rootUpTo(proof, addr, height, 64);
        bytes memory full = abi.encodePacked(proof);
        vm.expectPartialRevert(ProofTooShort.selector);
        tree.verify(root, _cut(full, length % (full.length - 31)), addr, height);
        // A word that is sent in part is filled up with zeros, as calldata is.
        full[full.length - 1] = 0;
        proof[proof.length - 1] &= ~bytes32(uint256(0xFF));
        root = Witnesses.rootUpTo(proof, addr, height, 64);
        vm.assertEq(tree.verify(root, _cut(full, full.length - 1), addr, height), proof[0]);
        bytes memory compact = _compact(proof, height);
        // Without the marker it would be a full proof.
        vm.expectPartialRevert(ProofTooShort.selector);
        tree.verify(root, _cut(compact, 8 + length % (compact.length - 8)), addr, height);
    }

    function testFuzz_compact_refusesSiblingsAboveTheRoot(bytes32 seed, uint64 where, uint256 size, uint256 bit)
        public
    {
        (bytes32[] memory proof, uint64 addr, uint256 height) = example(seed, 0, where, size);
        uint256 levels = 64 - height;
        uint64 bitmap = uint64(1 << (levels + bit % (64 - levels)));
        bytes memory compact = abi.encodePacked("OPMLCMP1", proof[0], bitmap, bytes32(0));
        vm.expectRevert(abi.encodeWithSelector(ProofBitmapInvalid.selector, bitmap, levels));
        tree.verify(Witnesses.rootUpTo(proof, addr, height, 64), compact, addr, height);
    }

    function testFuzz_compact_mayNameZeroRoots(bytes32 seed, uint64 where, uint256 size) public view {
        (bytes32[] memory proof, uint64 addr, uint256 height) = example(seed, 0, where, size);
        bytes32 root = Witnesses.rootUpTo(proof, addr, height, 64);
        bytes memory named = abi.encodePacked("OPMLCMP1", proof[0], uint64((uint256(1) << (64 - height)) - 1));
        for (uint256 i = 1; i < proof.length; ++i) {
            named = bytes.concat(named, proof[i]);
        }
        vm.assertEq(tree.verify(root, named, addr, height), proof[0]);
    }

    function testFuzz_word_standsWhereTheAddressSays(bytes32 leaf, uint64 addr, uint64 word) public pure {
        uint256 place = (addr % 32) / 8;
        bytes memory expected = abi.encodePacked(leaf);
        bytes8 old;
        for (uint256 i = 0; i < 8; ++i) {
            old |= bytes8(expected[8 * place + i]) >> (8 * i);
            expected[8 * place + i] = bytes8(word)[i];
        }
        vm.assertEq(MemoryTree.wordOf(leaf, addr), uint64(old));
        vm.assertEq(MemoryTree.withWord(leaf, addr, word), bytes32(expected));
    }

    function _compact(bytes32[] memory proof, uint256 height) internal pure returns (bytes memory) {
        return bytes.concat("OPMLCMP1", Witnesses.compact(proof, height));
    }

    function _cut(bytes memory data, uint256 length) internal pure returns (bytes memory cut) {
        cut = new bytes(length);
        for (uint256 i = 0; i < length; ++i) {
            cut[i] = data[i];
        }
    }
}

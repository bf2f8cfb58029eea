// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Frame, MEMORY_PROOF_BYTES, PROOF_AT, PROOF_END, ZERO_ROOTS} from "./Frame.sol";
import {Refusals} from "./Refusals.sol";
import {State} from "./State.sol";
import {ZeroRoots} from "./ZeroRoots.sol";
import {ProofBitmapInvalid} from "./VmErrors.sol";

/// @notice A subtree's root and its siblings up to the memory root, lowest first: the place of these words in memory.
type Proof is uint256;

// A leaf is 2^5 bytes; a level's number is the log2 of how many bytes a subtree of it spans.
uint256 constant LEAF = 5;

using {node} for Proof global;

/// @notice What the proof is about: a leaf's 32 bytes or a subtree's root. Not verified by itself.
function node(Proof proof) pure returns (bytes32 value) {
    assembly ("memory-safe") {
        value := mload(proof)
    }
}

/// @title MemoryTree
/// @notice VM memory: 2^64 bytes under one root. Leaves are 32 raw bytes, an inner node is keccak256(left ++ right).
///
/// 1. `open` tells which of its two encodings a proof has.
/// 2. `next` takes the next part from it: a node and its siblings.
/// 3. `verify` holds the part against the state's memory root; `put` also replaces the node and moves the root.
/// @dev Twin: native/vm/proof.c, with the same names in the same order; so functions stand before their first use.
library MemoryTree {
    /// @notice What a compact proof starts with: ASCII "OPMLCMP1".
    uint64 internal constant COMPACT_MARKER = 0x4F504D4C434D5031;

    /// @notice Gets ready to take parts from `proof`.
    function open(bytes calldata proof) internal pure {
        bool isCompact = proof.length >= 8 && uint64(bytes8(proof[:8])) == COMPACT_MARKER;
        uint256 start;
        assembly ("memory-safe") {
            start := proof.offset
        }
        Frame.setWord(PROOF_AT, isCompact ? start + 8 : start);
        // In the full encoding the zeros that pad calldata to whole words count as sent, as they do for Cannon.
        Frame.setWord(PROOF_END, start + (isCompact ? proof.length : (proof.length + 31) & ~uint256(31)));
        Frame.setWord(ZERO_ROOTS, isCompact ? ZeroRoots.load() : 0);
    }

    /// @notice The aligned 8-byte word of `leaf` that contains `addr`.
    function wordOf(bytes32 leaf, uint64 addr) internal pure returns (uint64 word) {
        assembly ("memory-safe") {
            word := and(shr(sub(192, shl(3, and(addr, 24))), leaf), 0xFFFFFFFFFFFFFFFF)
        }
    }

    /// @notice `leaf` with `word` in place of the aligned 8-byte word that contains `addr`.
    function withWord(bytes32 leaf, uint64 addr, uint64 word) internal pure returns (bytes32 newLeaf) {
        assembly ("memory-safe") {
            let shift := sub(192, shl(3, and(addr, 24)))
            let clean := and(word, 0xFFFFFFFFFFFFFFFF) // the compiler may leave bits above a uint64's
            newLeaf := or(and(leaf, not(shl(shift, 0xFFFFFFFFFFFFFFFF))), shl(shift, clean))
        }
    }

    /// @notice The memory root that the proof's siblings make with `start` in the place of its node.
    function rootWith(Proof proof, uint64 addr, uint256 log2Size, bytes32 start) internal pure returns (bytes32 root) {
        root = start;
        assembly ("memory-safe") {
            // Bit 5 of `path` says on which side the node of the present level stands.
            let path := shr(sub(log2Size, LEAF), addr)
            let own
            let at := add(proof, 0x20)
            let end := add(proof, shl(5, sub(65, log2Size)))
            for {} and(sub(end, at), 0x60) { at := add(at, 0x20) } {
                own := and(path, 0x20)
                mstore(own, root)
                mstore(xor(own, 0x20), mload(at))
                root := keccak256(0x00, 0x40)
                path := shr(1, path)
            }
            // The rest is a multiple of four levels: a fifth of the gas goes if four share one turn of the loop.
            for {} lt(at, end) { at := add(at, 0x80) } {
                own := and(path, 0x20)
                mstore(own, root)
                mstore(xor(own, 0x20), mload(at))
                root := keccak256(0x00, 0x40)
                own := and(shr(1, path), 0x20)
                mstore(own, root)
                mstore(xor(own, 0x20), mload(add(at, 0x20)))
                root := keccak256(0x00, 0x40)
                own := and(shr(2, path), 0x20)
                mstore(own, root)
                mstore(xor(own, 0x20), mload(add(at, 0x40)))
                root := keccak256(0x00, 0x40)
                own := and(shr(3, path), 0x20)
                mstore(own, root)
                mstore(xor(own, 0x20), mload(add(at, 0x60)))
                root := keccak256(0x00, 0x40)
                path := shr(4, path)
            }
        }
    }

    function _requireUpTo(uint256 end) private pure {
        uint256 available = Frame.word(PROOF_END);
        if (end > available) Refusals.memoryProofTooShort(end, available);
    }

    function _requireRoot(bytes32 found) private pure {
        bytes32 expected = State.memoryRoot();
        if (found != expected) Refusals.memoryProof(found, expected);
    }

    /// @dev Decodes a compact part at calldata offset `at`: zero roots first, sent siblings over them.
    function _nextCompact(Proof proof, uint256 at, uint256 levels, uint256 zeroRoots)
        private
        pure
        returns (uint256 end)
    {
        uint256 bitmap;
        assembly ("memory-safe") {
            mstore(proof, calldataload(at))
            mcopy(add(proof, 0x20), zeroRoots, shl(5, levels))
            bitmap := shr(192, calldataload(add(at, 32)))
            end := add(at, 40)
        }
        if (bitmap >> levels != 0) revert ProofBitmapInvalid(bitmap, levels);
        assembly ("memory-safe") {
            for { let sibling := add(proof, 0x20) } bitmap { bitmap := shr(1, bitmap) } {
                if and(bitmap, 1) {
                    mstore(sibling, calldataload(end))
                    end := add(end, 0x20)
                }
                sibling := add(sibling, 0x20)
            }
        }
        _requireUpTo(end);
    }

    /// @notice Takes the next part, about a subtree of 2^`log2Size` bytes.
    /// @dev Full encoding: node and siblings, in a place of 60 words whatever their number.
    /// Compact encoding: node, a bitmap of 8 bytes, and a sibling for each set bit; the others are zero roots.
    function next(uint256 log2Size) internal pure returns (Proof proof) {
        uint256 levels = 64 - log2Size;
        uint256 zeroRoots = Frame.word(ZERO_ROOTS);
        uint256 at = Frame.word(PROOF_AT);
        uint256 size = zeroRoots == 0 ? 32 + 32 * levels : 40;
        _requireUpTo(at + size);
        assembly ("memory-safe") {
            proof := mload(0x40)
            mstore(0x40, add(proof, add(0x20, shl(5, levels))))
        }
        if (zeroRoots == 0) {
            assembly ("memory-safe") {
                calldatacopy(proof, at, size)
            }
            Frame.setWord(PROOF_AT, at + MEMORY_PROOF_BYTES);
        } else {
            Frame.setWord(PROOF_AT, _nextCompact(proof, at, levels, zeroRoots + ((log2Size - LEAF) << 5)));
        }
    }

    /// @notice Reverts unless the proof leads from its node at `addr` to the memory root.
    function verify(Proof proof, uint64 addr, uint256 log2Size) internal pure {
        _requireRoot(rootWith(proof, addr, log2Size, proof.node()));
    }

    /// @notice Puts `newNode` in the place of the proof's node, after verifying that.
    function put(Proof proof, uint64 addr, uint256 log2Size, bytes32 newNode) internal pure {
        bytes32 oldRoot = proof.node();
        bytes32 newRoot = newNode;
        assembly ("memory-safe") {
            // Bit 5 of `path` says on which side the node of the present level stands.
            let path := shr(sub(log2Size, LEAF), addr)
            let end := add(proof, shl(5, sub(65, log2Size)))
            for { let at := add(proof, 0x20) } lt(at, end) { at := add(at, 0x20) } {
                let own := and(path, 0x20)
                mstore(xor(own, 0x20), mload(at))
                mstore(own, oldRoot)
                oldRoot := keccak256(0x00, 0x40)
                mstore(own, newRoot)
                newRoot := keccak256(0x00, 0x40)
                path := shr(1, path)
            }
        }
        // INVARIANT: both walks used the same siblings, so if the old node leads to the root we hold, nothing outside
        // the subtree can have changed.
        _requireRoot(oldRoot);
        Frame.setWord(State.MEMORY_ROOT, uint256(newRoot));
    }

    /// @notice Reads the word that contains `addr`, with the next part of the proof.
    function readWord(uint64 addr) internal pure returns (uint64 word) {
        Proof proof = next(LEAF);
        verify(proof, addr, LEAF);
        return wordOf(proof.node(), addr);
    }
}

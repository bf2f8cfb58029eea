// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {LEAF, MemoryTree, Proof} from "./MemoryTree.sol";
import {State} from "./State.sol";
import {Syscalls} from "./Syscalls.sol";
import {Thread} from "./Thread.sol";

/// @title TensorCalls
/// @notice Version ML's system calls: they move the root of a whole subtree of memory in one step, whatever its size.
/// Both take an address, the log2 of a size, and the address of a leaf that holds the root.
library TensorCalls {
    /// @notice tensor_map: the subtree becomes the one whose root the leaf holds.
    function map() internal pure {
        (bool ok, uint64 addr, uint256 log2Size, uint64 leafAddress) = arguments();
        if (!ok) return Syscalls.fail(Syscalls.EINVAL);
        Proof leaf = MemoryTree.next(LEAF);
        MemoryTree.verify(leaf, leafAddress, LEAF);
        MemoryTree.put(MemoryTree.next(log2Size), addr, log2Size, leaf.node());
        State.onReplace(addr, log2Size);
        Syscalls.succeed(0);
    }

    /// @notice tensor_root: the leaf becomes the root of the subtree.
    function root() internal pure {
        (bool ok, uint64 addr, uint256 log2Size, uint64 leafAddress) = arguments();
        if (!ok) return Syscalls.fail(Syscalls.EINVAL);
        Proof leaf = MemoryTree.next(LEAF);
        Proof subtree = MemoryTree.next(log2Size);
        MemoryTree.verify(subtree, addr, log2Size);
        MemoryTree.put(leaf, leafAddress, LEAF, subtree.node());
        State.onReplace(leafAddress, LEAF);
        Syscalls.succeed(0);
    }

    /// @notice The arguments, and whether they make sense: a size of 2^5 to 2^63 bytes, both addresses aligned, and the
    /// leaf outside the subtree, so that neither's proof depends on the other's content.
    function arguments() internal pure returns (bool ok, uint64 addr, uint256 log2Size, uint64 leafAddress) {
        addr = Thread.reg(4);
        log2Size = Thread.reg(5);
        leafAddress = Thread.reg(6);
        ok = log2Size >= LEAF && log2Size < 64 && addr & ((1 << log2Size) - 1) == 0 && leafAddress & 31 == 0
            && leafAddress >> log2Size != addr >> log2Size;
    }
}

// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @notice A machine about to run `insn`, with one thread, in words a test can change one by one.
struct Machine {
    bool isMl;
    uint32 insn;
    uint64[32] r;
    uint32[32] f;
    uint32 fcsr;
    uint64 step;
    bytes32 dataLeaf;
    bytes32 preimageKey;
    uint64 preimageOffset;
    uint8 reservation;
    uint64 reservedAddress;
    bytes32[59] siblings;
}

/// @title Witnesses
/// @notice Makes witnesses of a small memory, the slow obvious way.
///
/// The instruction stands in the leaf at `PC`. `machine.dataLeaf` is the leaf beside it, at `DATA`. Everything else is known
/// by its roots alone, `siblings` (number i at level 5 + i; number 0 gives way to the leaf next door): all-zero memory
/// or, with `dense`, anything at all. The subtree at `SEGMENT` is number 35.
library Witnesses {
    uint64 internal constant PC = 0x10000;
    uint64 internal constant DATA = 0x10020;
    uint64 internal constant SEGMENT = 1 << 40;
    uint256 internal constant LOG2_SEGMENT = 40;
    bytes32 internal constant EMPTY_STACK = 0xad3228b676f7d3cd4284a5443f17f1962b36e491b30a40b2405849e597ba5fb5;

    /// @notice A machine with zeros everywhere but for the stack pointer, as after loading an empty program.
    function blank(bool isMl, uint32 insn) internal pure returns (Machine memory machine) {
        machine.isMl = isMl;
        machine.insn = insn;
        machine.r[29] = 0x00007FFFFFFFF000;
        for (uint256 i = 0; i < 59; ++i) {
            machine.siblings[i] = zeroRoot(5 + i);
        }
    }

    /// @notice The same with memory, registers and floats that depend on `seed`.
    function dense(bool isMl, uint32 insn, bytes32 seed) internal pure returns (Machine memory machine) {
        machine = blank(isMl, insn);
        machine.step = uint32(uint256(seed));
        machine.dataLeaf = keccak256(abi.encode(seed, "data"));
        for (uint256 i = 0; i < 59; ++i) {
            machine.siblings[i] = keccak256(abi.encode(seed, "sibling", i));
        }
        for (uint256 i = 1; i < 32; ++i) {
            machine.r[i] = uint64(uint256(keccak256(abi.encode(seed, "register", i))));
            machine.f[i] = uint32(uint256(keccak256(abi.encode(seed, "float", i))));
        }
    }

    function state(Machine memory m) internal pure returns (bytes memory) {
        bytes memory start = abi.encodePacked(
            memoryRoot(m),
            m.preimageKey,
            m.preimageOffset,
            uint64(0x100000000000),
            m.reservation,
            m.reservedAddress,
            uint64(0)
        );
        bytes32 left = keccak256(abi.encode(EMPTY_STACK, keccak256(thread(m))));
        bytes memory end = abi.encodePacked(uint16(0), m.step, m.step % 100_000, uint8(0), left, EMPTY_STACK, uint64(1));
        return bytes.concat(start, end);
    }

    function thread(Machine memory m) internal pure returns (bytes memory encoded) {
        encoded = abi.encodePacked(uint64(0), uint16(0), PC, PC + 4, uint64(0), uint64(0));
        for (uint256 i = 0; i < 32; ++i) {
            encoded = bytes.concat(encoded, abi.encodePacked(m.r[i]));
        }
        if (!m.isMl) return encoded;
        for (uint256 i = 0; i < 32; ++i) {
            encoded = bytes.concat(encoded, abi.encodePacked(m.f[i]));
        }
        return bytes.concat(encoded, abi.encodePacked(m.fcsr));
    }

    /// @notice All parts, in the full encoding.
    function fullProof(Machine memory m) internal pure returns (bytes memory) {
        bytes memory threadProof = abi.encodePacked(thread(m), EMPTY_STACK);
        return bytes.concat(threadProof, join(codeProof(m)), join(dataProof(m)), join(segmentProof(m)));
    }

    /// @notice The same in the compact encoding, up to the part that is needed.
    function compactProof(Machine memory m, uint256 parts) internal pure returns (bytes memory proof) {
        proof = abi.encodePacked("OPMLCMP1", thread(m), EMPTY_STACK);
        if (parts > 0) proof = bytes.concat(proof, compact(codeProof(m), 5));
        if (parts > 1) proof = bytes.concat(proof, compact(dataProof(m), 5));
        if (parts > 2) proof = bytes.concat(proof, compact(segmentProof(m), LOG2_SEGMENT));
    }

    function codeLeaf(Machine memory m) internal pure returns (bytes32) {
        return bytes32(uint256(m.insn) << 224);
    }

    function codeProof(Machine memory m) internal pure returns (bytes32[] memory) {
        return leafProof(m, codeLeaf(m), m.dataLeaf);
    }

    function dataProof(Machine memory m) internal pure returns (bytes32[] memory) {
        return leafProof(m, m.dataLeaf, codeLeaf(m));
    }

    function segmentProof(Machine memory m) internal pure returns (bytes32[] memory proof) {
        proof = new bytes32[](65 - LOG2_SEGMENT);
        proof[0] = m.siblings[35];
        proof[1] = rootUpTo(codeProof(m), PC, 5, LOG2_SEGMENT);
        for (uint256 i = 36; i < 59; ++i) {
            proof[i - 34] = m.siblings[i];
        }
    }

    function memoryRoot(Machine memory m) internal pure returns (bytes32) {
        return rootUpTo(codeProof(m), PC, 5, 64);
    }

    /// @notice The slow obvious version of the walk: from a node at level `from` to the one above it at level `to`.
    function rootUpTo(bytes32[] memory proof, uint64 addr, uint256 from, uint256 to)
        internal
        pure
        returns (bytes32 root)
    {
        root = proof[0];
        for (uint256 level = from; level < to; ++level) {
            bytes32 sibling = proof[1 + level - from];
            bool isRight = (uint256(addr) / 2 ** level) % 2 == 1;
            root = isRight ? keccak256(abi.encode(sibling, root)) : keccak256(abi.encode(root, sibling));
        }
    }

    function zeroRoot(uint256 log2Size) internal pure returns (bytes32 root) {
        for (uint256 level = 5; level < log2Size; ++level) {
            root = keccak256(abi.encode(root, root));
        }
    }

    /// @notice Node and siblings in 60 words, the rest of them junk that must not be read.
    function join(bytes32[] memory proof) internal pure returns (bytes memory joined) {
        joined = abi.encodePacked(proof);
        for (uint256 i = proof.length; i < 60; ++i) {
            joined = bytes.concat(joined, keccak256(abi.encode(i)));
        }
    }

    /// @notice Node, bitmap, and the siblings that are no zero roots.
    function compact(bytes32[] memory proof, uint256 log2Size) internal pure returns (bytes memory) {
        uint64 bitmap;
        bytes memory sent;
        bytes32 zeros = zeroRoot(log2Size);
        for (uint256 i = 1; i < proof.length; ++i) {
            if (proof[i] != zeros) {
                bitmap |= uint64(1 << (i - 1));
                sent = bytes.concat(sent, proof[i]);
            }
            zeros = keccak256(abi.encode(zeros, zeros));
        }
        return abi.encodePacked(proof[0], bitmap, sent);
    }

    function leafProof(Machine memory m, bytes32 leaf, bytes32 nextDoor) private pure returns (bytes32[] memory proof) {
        proof = new bytes32[](60);
        proof[0] = leaf;
        proof[1] = nextDoor;
        for (uint256 i = 1; i < 59; ++i) {
            proof[1 + i] = m.siblings[i];
        }
    }
}

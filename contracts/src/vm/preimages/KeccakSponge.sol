// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @notice The 25 lanes of a sponge, lane x + 5 y at place x + 5 y. All zero at the start.
struct StateMatrix {
    uint64[25] state;
}

/// @title KeccakSponge
/// @notice Keccak-256 block by block: the hash function that the chain has only for data in one transaction.
/// @dev Source: FIPS 202, sections 3.2 and 4, with Keccak's own padding (a byte 01, zeros, a last bit).
library KeccakSponge {
    /// @notice Bytes that one permutation takes in.
    uint256 internal constant BLOCK_BYTES = 136;

    /// @dev By how many bits the lanes of step rho and pi are rotated, and where they go, one byte each.
    uint256 private constant ROTATIONS = 0x0103060a0f151c242d37020e1b293808192b3e12273d142c0000000000000000;
    uint256 private constant PLACES = 0x0a070b1112030510081518040f17130d0c02140e160906010000000000000000;

    /// @dev The 24 round constants of step iota, 8 bytes each.
    bytes private constant ROUNDS = hex"00000000000000010000000000008082800000000000808a8000000080008000000000000000808b"
        hex"000000008000000180000000800080818000000000008009000000000000008a00000000000000880000000080008009"
        hex"000000008000000a000000008000808b800000000000008b800000000000808980000000000080038000000000008002"
        hex"8000000000000080000000000000800a800000008000000a800000008000808180000000000080800000000080000001"
        hex"8000000080008008";

    /// @notice What a leaf says of the state.
    function commitment(StateMatrix memory self) internal pure returns (bytes32) {
        return keccak256(abi.encode(self));
    }

    /// @notice The last part of a pre-image, filled up to whole blocks: by a byte at least, by a block at most.
    function pad(bytes calldata input) internal pure returns (bytes memory padded) {
        padded = bytes.concat(input, new bytes(BLOCK_BYTES - input.length % BLOCK_BYTES));
        padded[input.length] = 0x01;
        padded[padded.length - 1] |= 0x80;
    }

    /// @notice Takes in one block. Reverts if it is of another size.
    function absorb(StateMatrix memory self, bytes memory input) internal pure {
        require(input.length == BLOCK_BYTES);
        for (uint256 lane = 0; lane < BLOCK_BYTES / 8; ++lane) {
            uint64 word;
            assembly ("memory-safe") {
                word := shr(192, mload(add(add(input, 32), mul(8, lane)))) // 17 lanes of 8 bytes are the whole input
            }
            self.state[lane] ^= _swapped(word);
        }
        _permute(self.state);
    }

    /// @notice The digest after the last block.
    function digest(StateMatrix memory self) internal pure returns (bytes32) {
        uint64[25] memory lanes = self.state;
        return bytes32(
            uint256(_swapped(lanes[0])) << 192 | uint256(_swapped(lanes[1])) << 128 | uint256(_swapped(lanes[2])) << 64
                | uint256(_swapped(lanes[3]))
        );
    }

    /// @dev Lanes are little-endian.
    function _swapped(uint64 word) private pure returns (uint64) {
        word = (word & 0x00ff00ff00ff00ff) << 8 | (word >> 8 & 0x00ff00ff00ff00ff);
        word = (word & 0x0000ffff0000ffff) << 16 | (word >> 16 & 0x0000ffff0000ffff);
        return word << 32 | word >> 32;
    }

    /// @dev Keccak-f[1600], 24 rounds.
    function _permute(uint64[25] memory lanes) private pure {
        bytes memory constants = ROUNDS;
        uint256 rotations = ROTATIONS;
        uint256 places = PLACES;
        // Every lane stays below 2^64: rotations are cut, and x & ~y is not above x.
        assembly ("memory-safe") {
            function rotated(word, bits) -> result {
                result := and(or(shl(bits, word), shr(sub(64, bits), word)), 0xffffffffffffffff)
            }

            // The parity of the column that starts at `lane`.
            function parity(lane) -> result {
                result := xor(
                    xor(xor(mload(lane), mload(add(lane, 160))), xor(mload(add(lane, 320)), mload(add(lane, 480)))),
                    mload(add(lane, 640))
                )
            }

            // Theta on the column that starts at `lane`.
            function mix(lane, word) {
                for { let end := add(lane, 800) } lt(lane, end) { lane := add(lane, 160) } {
                    mstore(lane, xor(mload(lane), word))
                }
            }

            for { let round := 0 } lt(round, 24) { round := add(round, 1) } {
                {
                    let p0 := parity(lanes)
                    let p1 := parity(add(lanes, 32))
                    let p2 := parity(add(lanes, 64))
                    let p3 := parity(add(lanes, 96))
                    let p4 := parity(add(lanes, 128))
                    mix(lanes, xor(p4, rotated(p1, 1)))
                    mix(add(lanes, 32), xor(p0, rotated(p2, 1)))
                    mix(add(lanes, 64), xor(p1, rotated(p3, 1)))
                    mix(add(lanes, 96), xor(p2, rotated(p4, 1)))
                    mix(add(lanes, 128), xor(p3, rotated(p0, 1)))
                }
                {
                    // Rho and pi: one cycle through all lanes but the first.
                    let word := mload(add(lanes, 32))
                    for { let i := 0 } lt(i, 24) { i := add(i, 1) } {
                        let lane := add(lanes, mul(32, byte(i, places)))
                        let next := mload(lane)
                        mstore(lane, rotated(word, byte(i, rotations)))
                        word := next
                    }
                }
                // Chi, row by row.
                for { let row := lanes } lt(row, add(lanes, 800)) { row := add(row, 160) } {
                    let a := mload(row)
                    let b := mload(add(row, 32))
                    let c := mload(add(row, 64))
                    let d := mload(add(row, 96))
                    let e := mload(add(row, 128))
                    mstore(row, xor(a, and(not(b), c)))
                    mstore(add(row, 32), xor(b, and(not(c), d)))
                    mstore(add(row, 64), xor(c, and(not(d), e)))
                    mstore(add(row, 96), xor(d, and(not(e), a)))
                    mstore(add(row, 128), xor(e, and(not(a), b)))
                }
                // Iota.
                mstore(lanes, xor(mload(lanes), shr(192, mload(add(add(constants, 32), mul(8, round))))))
            }
        }
    }
}

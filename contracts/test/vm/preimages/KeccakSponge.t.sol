// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {KeccakSponge, StateMatrix} from "../../../src/vm/preimages/KeccakSponge.sol";
import {Test} from "../../Test.sol";

/// @notice What a sponge takes in: one block, all of it, and nothing beside it.
contract KeccakSpongeTest is Test {
    using KeccakSponge for StateMatrix;

    function absorbed(bytes memory block_) external pure returns (bytes32) {
        StateMatrix memory state;
        state.absorb(block_);
        return state.commitment();
    }

    function testFuzz_absorb_refusesAnotherSize(uint256 size) public {
        size = bound(size, 0, 3 * KeccakSponge.BLOCK_BYTES);
        vm.assume(size != KeccakSponge.BLOCK_BYTES);
        vm.expectRevert();
        this.absorbed(new bytes(size));
    }

    function testFuzz_absorb_looksAtNothingBehindTheBlock(bytes32 seed, uint256 behind) public pure {
        bytes memory block_ = new bytes(KeccakSponge.BLOCK_BYTES);
        for (uint256 i = 0; i < block_.length; ++i) {
            block_[i] = keccak256(abi.encode(seed, i))[0];
        }
        StateMatrix memory expected;
        StateMatrix memory state;
        expected.absorb(block_);
        assembly ("memory-safe") {
            // The block ends 8 bytes into a word, the rest of which belongs to it as padding.
            let last := add(block_, 160)
            mstore(last, or(and(mload(last), shl(192, 0xffffffffffffffff)), shr(64, behind)))
        }
        state.absorb(block_);
        vm.assertEq(state.commitment(), expected.commitment());
    }

    function testFuzz_absorb_leavesAloneWhatLiesBesideTheState(uint256 behind) public pure {
        bytes memory block_ = new bytes(KeccakSponge.BLOCK_BYTES);
        StateMatrix memory expected;
        StateMatrix memory state;
        uint64[25] memory lanes = state.state;
        uint256 kept;
        uint256 end;
        assembly ("memory-safe") {
            end := add(lanes, 800)
            let free := mload(0x40)
            if iszero(lt(end, free)) { mstore(0x40, add(end, 0x20)) }
            kept := mload(end)
            mstore(end, behind)
        }
        state.absorb(block_);
        uint256 found;
        assembly ("memory-safe") {
            found := mload(end)
            mstore(end, kept)
        }
        vm.assertEq(found, behind);
        expected.absorb(block_);
        vm.assertEq(state.commitment(), expected.commitment());
    }

    function testFuzz_absorb_looksAtEveryByte(uint256 where, uint8 change) public pure {
        vm.assume(change != 0);
        bytes memory block_ = new bytes(KeccakSponge.BLOCK_BYTES);
        StateMatrix memory plain;
        StateMatrix memory changed;
        plain.absorb(block_);
        where = bound(where, 0, block_.length - 1);
        block_[where] = bytes1(change);
        changed.absorb(block_);
        vm.assertNotEq(plain.commitment(), changed.commitment());
    }
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Test} from "../Test.sol";
import {AnswerList} from "../../src/dispute/AnswerList.sol";

/// @notice A packed list is a list.
contract AnswerListTest is Test {
    AnswerList internal list;
    mapping(uint256 place => uint32) internal expected;

    /// @notice Indices of every size, over several words: each is where it was put, whatever came later. So is the progress.
    function testFuzz_keepsItsOrder(uint256 seed, uint8 count) public {
        (uint32 processed, uint32 winner) = (0, 0);
        for (uint256 i = 0; i < count % 40; ++i) {
            vm.assertEq(list.length(), i);
            seed = uint256(keccak256(abi.encode(seed)));
            expected[i] = uint32(seed >> (seed % 33));
            list.push(expected[i]);
            if (seed & 1 << 100 != 0) {
                (processed, winner) = (uint32(seed >> 101), uint32(seed >> 133));
                list.setProgress(processed, winner);
            }
            vm.assertEq(list.processed(), processed);
            vm.assertEq(list.winner(), winner);
            for (uint256 place = 0; place <= i; ++place) {
                vm.assertEq(list.at(place), expected[place]);
            }
        }
    }

    /// @notice The largest indices leave their neighbours and the number alone.
    function test_allOnes() public {
        for (uint256 i = 0; i < 20; ++i) {
            list.push(type(uint32).max);
        }
        list.setProgress(0, 0);
        vm.assertEq(list.length(), 20);
        for (uint256 i = 0; i < 20; ++i) {
            vm.assertEq(list.at(i), type(uint32).max);
        }
    }
}

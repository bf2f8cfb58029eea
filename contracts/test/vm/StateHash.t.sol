// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {StateHash, VmStatus, stateHashOf} from "../../src/vm/StateHash.sol";
import {Test} from "../Test.sol";

/// @notice A state hash: its first byte is the status, the others are the digest's.
contract StateHashTest is Test {
    function test_statuses_areTheOpStacks() public pure {
        vm.assertEq(uint256(VmStatus.VALID), 0);
        vm.assertEq(uint256(VmStatus.INVALID), 1);
        vm.assertEq(uint256(VmStatus.PANIC), 2);
        vm.assertEq(uint256(VmStatus.UNFINISHED), 3);
    }

    function testFuzz_firstByte_isTheStatus(bytes32 digest, uint8 status) public pure {
        StateHash made = stateHashOf(digest, status);
        vm.assertEq(uint256(made.vmStatus()), status);
        vm.assertEq(uint256(made.raw()) % 2 ** 248, uint256(digest) % 2 ** 248);
    }

    function testFuzz_witness_isBehindItsHashAlone(bytes calldata witness, uint8 status, uint8 bit) public view {
        bytes32 digest = keccak256(witness);
        vm.assertTrue(this.isBehind(stateHashOf(digest, status), witness));
        bool isInStatus = bit >= 248; // the first byte
        StateHash other = stateHashOf(digest ^ bytes32(uint256(1) << bit), status);
        vm.assertEq(this.isBehind(other, witness), isInStatus);
    }

    function testFuzz_equality_isOfAllBytes(bytes32 one, uint8 bit) public pure {
        StateHash same = StateHash.wrap(one);
        StateHash other = StateHash.wrap(one ^ bytes32(uint256(1) << bit));
        vm.assertTrue(same == StateHash.wrap(one) && !(same != StateHash.wrap(one)));
        vm.assertTrue(same != other && !(same == other));
    }

    function isBehind(StateHash stateHash, bytes calldata witness) external pure returns (bool) {
        return stateHash.isHashOf(witness);
    }
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Test} from "../Test.sol";
import {ClaimAboveSplit} from "../../src/dispute/Errors.sol";
import {Position} from "../../src/dispute/Position.sol";

/// @notice Positions against the published table, and against the slow way: one level at a time.
contract PositionTest is Test {
    function at(uint256 p) internal pure returns (Position) {
        return Position.wrap(uint128(p));
    }

    function test_table() public pure {
        // position, depth, index, attack, defend, traceIndex at 4, traceIndex at 8
        uint16[7][8] memory rows = [
            [uint16(1), 0, 0, 2, 2, 15, 255], // the root is odd, so its defence is its attack; the game refuses that move
            [uint16(2), 1, 0, 4, 6, 7, 127],
            [uint16(4), 2, 0, 8, 10, 3, 63],
            [uint16(6), 2, 2, 12, 14, 11, 191],
            [uint16(12), 3, 4, 24, 26, 9, 159],
            [uint16(16), 4, 0, 32, 34, 0, 15],
            [uint16(18), 4, 2, 36, 38, 2, 47],
            [uint16(30), 4, 14, 60, 62, 14, 239]
        ];
        for (uint256 i = 0; i < rows.length; ++i) {
            Position p = at(rows[i][0]);
            vm.assertEq(p.depth(), rows[i][1]);
            vm.assertEq(p.indexAtDepth(), rows[i][2]);
            vm.assertEq(p.attack().raw(), rows[i][3]);
            vm.assertEq(p.defend().raw(), rows[i][4]);
            vm.assertEq(p.traceIndex(4), rows[i][5]);
            vm.assertEq(p.traceIndex(8), rows[i][6]);
        }
    }

    function test_traceAncestor_table() public pure {
        uint8[2][13] memory rows = [
            [uint8(2), 2],
            [uint8(3), 1],
            [uint8(5), 2],
            [uint8(7), 1],
            [uint8(9), 4],
            [uint8(11), 2],
            [uint8(13), 6],
            [uint8(15), 1],
            [uint8(17), 8],
            [uint8(19), 4],
            [uint8(23), 2],
            [uint8(29), 14],
            [uint8(31), 1]
        ];
        for (uint256 i = 0; i < rows.length; ++i) {
            vm.assertEq(at(rows[i][0]).traceAncestor().raw(), rows[i][1]);
        }
    }

    function test_traceAncestorBounded_table() public pure {
        uint16[2][11] memory rows = [
            [uint16(256), 256],
            [uint16(257), 128],
            [uint16(259), 64],
            [uint16(263), 32],
            [uint16(265), 132],
            [uint16(503), 62],
            [uint16(262), 262],
            [uint16(33), 33],
            [uint16(271), 33],
            [uint16(495), 61],
            [uint16(511), 63]
        ];
        for (uint256 i = 0; i < rows.length; ++i) {
            vm.assertEq(at(rows[i][0]).traceAncestorBounded(4).raw(), rows[i][1]);
        }
    }

    function boundedAncestor(Position p, uint256 bound) external pure returns (Position) {
        return p.traceAncestorBounded(bound);
    }

    function test_traceAncestorBounded_refuses_whatIsNotBelow() public {
        vm.expectRevert(ClaimAboveSplit.selector);
        this.boundedAncestor(at(16), 4);
    }

    function testFuzz_depthAndIndex(uint256 depth, uint256 index) public pure {
        depth = bound(depth, 0, 125);
        index = bound(index, 0, (1 << depth) - 1);
        Position p = at((uint256(1) << depth) + index);
        vm.assertEq(p.depth(), depth);
        vm.assertEq(p.indexAtDepth(), index);
    }

    /// @notice A move goes one level down, to an even position: attack left of where we were, defence right of it.
    function testFuzz_moves(uint128 raw, uint256 bottom) public pure {
        Position p = at(bound(raw, 1, 2 ** 120 - 1));
        bottom = bound(bottom, p.depth() + 1, 125);
        vm.assertEq(p.attack().depth(), p.depth() + 1);
        vm.assertEq(p.defend().depth(), p.depth() + 1);
        vm.assertEq(p.attack().raw() % 2, 0);
        vm.assertEq(p.defend().raw() % 2, 0);
        vm.assertEq(p.attack().parent().raw(), p.raw());
        vm.assertLt(p.attack().traceIndex(bottom), p.traceIndex(bottom));
        // A defended position is even, except the root's, which cannot be defended.
        if (p.raw() % 2 == 0) vm.assertGt(p.defend().traceIndex(bottom), p.traceIndex(bottom));
    }

    /// @notice rightIndex is going right, level by level.
    function testFuzz_rightIndex_isGoingRight(uint128 raw, uint256 bottom) public pure {
        Position p = at(bound(raw, 1, 2 ** 120 - 1));
        bottom = bound(bottom, p.depth(), 125);
        uint256 slow = p.raw();
        for (uint256 d = p.depth(); d < bottom; ++d) {
            slow = 2 * slow + 1;
        }
        vm.assertEq(p.rightIndex(bottom).raw(), slow);
        vm.assertEq(p.traceIndex(bottom), slow - (uint256(1) << bottom));
    }

    /// @notice traceAncestor is going up for as long as the leaf stays the same.
    function testFuzz_traceAncestor_isGoingUp(uint128 raw) public pure {
        Position p = at(bound(raw, 1, 2 ** 125 - 1));
        uint256 slow = p.raw();
        while (slow > 1 && at(slow / 2).rightIndex(p.depth()).raw() == p.raw()) slow /= 2;
        // Only a right edge speaks about the same leaf from higher up.
        vm.assertEq(p.traceAncestor().raw(), slow);
    }

    /// @notice The bounded form stays below the bound and keeps the leaf.
    function testFuzz_traceAncestorBounded(uint128 raw, uint256 split) public pure {
        Position p = at(bound(raw, 8, 2 ** 125 - 1));
        split = bound(split, 2, p.depth() - 1);
        Position ancestor = p.traceAncestorBounded(split);
        vm.assertGt(ancestor.depth(), split);
        vm.assertEq(ancestor.rightIndex(p.depth()).raw(), p.raw());
    }
}

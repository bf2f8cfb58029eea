// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Test} from "../Test.sol";
import {Bond} from "../../src/dispute/Bond.sol";
import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";

/// @notice Bonds against the published tables, and their shape for any maximum depth.
contract BondTest is Test {
    /// @dev With the published game's terms.
    function required(uint256 depth, uint256 maxDepth) internal pure returns (uint256) {
        return Bond.required(depth, maxDepth, 200 gwei, 400_000, Bond.logarithmOfGrowth(400_000, 300_000_000));
    }

    function test_table_maxDepth8() public pure {
        uint32[9] memory gas =
            [400_000, 915_045, 2_093_270, 4_788_593, 10_954_451, 25_059_550, 57_326_567, 131_141_031, 299_999_999];
        for (uint256 depth = 0; depth <= 8; ++depth) {
            vm.assertEq(required(depth, 8), uint256(gas[depth]) * 200 gwei);
        }
    }

    function test_table_maxDepth73() public pure {
        uint32[2][9] memory rows = [
            [uint32(0), 400_000],
            [uint32(1), 437_970],
            [uint32(2), 479_544],
            [uint32(10), 990_612],
            [uint32(30), 6_075_639],
            [uint32(31), 6_652_370],
            [uint32(50), 37_263_190],
            [uint32(72), 273_991_351],
            [uint32(73), 299_999_999]
        ];
        for (uint256 i = 0; i < rows.length; ++i) {
            vm.assertEq(required(rows[i][0], 73), uint256(rows[i][1]) * 200 gwei);
        }
    }

    function test_logarithm_isThePublished() public pure {
        vm.assertEq(Bond.logarithmOfGrowth(400_000, 300_000_000), 6_620073206530356124);
        vm.assertEq(Bond.logarithmOfGrowth(1, 1), 0);
    }

    /// @notice A flat curve asks the same at each depth, any other more at the bottom than at the root and never less further
    ///         down; and the ends are what the terms say, but for rounding.
    function testFuzz_shape_forAnyTerms(uint64 baseFee, uint64 gasAtRoot, uint64 gasAtMaxDepth, uint256 maxDepth)
        public
        pure
    {
        gasAtRoot = uint64(bound(gasAtRoot, 1, type(uint64).max));
        gasAtMaxDepth = uint64(bound(gasAtMaxDepth, gasAtRoot, type(uint64).max));
        maxDepth = bound(maxDepth, 4, 125);
        uint256 growth = Bond.logarithmOfGrowth(gasAtRoot, gasAtMaxDepth);
        uint256 before = 0;
        for (uint256 depth = 0; depth <= maxDepth; ++depth) {
            uint256 bond = Bond.required(depth, maxDepth, baseFee, gasAtRoot, growth);
            vm.assertGe(bond, before);
            before = bond;
        }
        vm.assertEq(Bond.required(0, maxDepth, baseFee, gasAtRoot, growth), uint256(baseFee) * gasAtRoot);
        // Fixed point with 18 digits: the growth is off by less than a millionth part, and the gas is cut to whole units.
        uint256 wanted = uint256(baseFee) * gasAtMaxDepth;
        vm.assertLe(before, wanted + wanted / 1e6);
        vm.assertGe(before + wanted / 1e6 + baseFee, wanted);
    }

    /// @notice For every maximum depth: 0.08 ETH at the root, about 60 ETH at the bottom, strictly more at each depth.
    function test_shape_forEveryMaxDepth() public pure {
        for (uint256 maxDepth = 4; maxDepth <= 125; ++maxDepth) {
            vm.assertEq(required(0, maxDepth), 0.08 ether);
            vm.assertLe(60 ether - required(maxDepth, maxDepth), 1000 * 200 gwei);
            for (uint256 depth = 1; depth <= maxDepth; depth += 3) {
                vm.assertGt(required(depth, maxDepth), required(depth - 1, maxDepth));
            }
        }
    }

    /// @notice The published way of counting: the factor from depth to depth, raised to its power by its own logarithm.
    function published(uint256 depth, uint256 maxDepth) internal pure returns (uint256) {
        int256 ln = FixedPointMathLib.lnWad(750e18);
        uint256 exponent = FixedPointMathLib.mulWad(uint256(ln), FixedPointMathLib.divWad(1e18, maxDepth * 1e18));
        int256 factor = FixedPointMathLib.expWad(int256(exponent));
        uint256 growth = uint256(FixedPointMathLib.powWad(factor, int256(depth * 1e18)));
        return 200 gwei * FixedPointMathLib.mulWad(400_000, growth);
    }

    /// @notice Every bond that a game can ask for is the published one.
    function test_everyBond_isThePublished() public pure {
        for (uint256 maxDepth = 1; maxDepth <= 125; ++maxDepth) {
            for (uint256 depth = 0; depth <= maxDepth; ++depth) {
                vm.assertEq(required(depth, maxDepth), published(depth, maxDepth));
            }
        }
    }
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";

/// @title What a claim costs
/// @notice A bond pays for the gas of countering the claim, at an assumed base fee. That gas grows geometrically with the
///         depth: GAS_AT_ROOT at depth 0, GAS_AT_MAX_DEPTH at the maximum depth D, so
///
///             bond(depth) = BASE_FEE * floor(GAS_AT_ROOT * 750^(depth / D))
///
/// @dev Source: docs/game.md, "Bonds". Fixed point with 18 digits, truncated at each step: the same number to the last digit
///      as the published game's, for each depth of each maximum depth up to 125 (test/dispute/Bond.t.sol).
library Bond {
    /// @notice Wei per gas.
    uint256 internal constant BASE_FEE = 200 gwei;
    uint256 internal constant GAS_AT_ROOT = 400_000;
    /// @notice 750 times as much.
    uint256 internal constant GAS_AT_MAX_DEPTH = 300_000_000;
    /// @notice The natural logarithm of 750, times 10^18.
    uint256 internal constant LN_750_WAD = 6_620073206530356124;

    /// @notice The bond of a claim, in wei.
    /// @param depth 0 to `maxDepth`; the caller checks.
    /// @param maxDepth 1 to 125.
    function required(uint256 depth, uint256 maxDepth) internal pure returns (uint256) {
        // The logarithm of the factor from one depth to the next, 750^(1 / maxDepth).
        uint256 exponent = FixedPointMathLib.mulWad(LN_750_WAD, FixedPointMathLib.divWad(1e18, maxDepth * 1e18));
        // WHY NOT the factor's own power, as published: that takes the logarithm of an exponential, which is the exponent
        // again but for the last of 18 digits, and the gas is cut to whole units.
        uint256 growth = uint256(FixedPointMathLib.expWad(int256(exponent * depth)));
        return BASE_FEE * FixedPointMathLib.mulWad(GAS_AT_ROOT, growth);
    }
}

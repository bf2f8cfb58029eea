// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";

/// @notice The terms of bonds, which a deployment chooses.
struct BondTerms {
    /// @notice Wei per gas that a bond pays for.
    uint64 assumedBaseFee;
    /// @notice Gas that the bond of a claim at depth 0 pays for.
    uint64 gasAtRoot;
    /// @notice Gas that the bond of a claim at the maximum depth pays for; at least `gasAtRoot`.
    uint64 gasAtMaxDepth;
    /// @notice Part of each lost bond, in ten-thousandths, that does not go to the winner: at most MAX_FORFEITED_BPS.
    uint16 forfeitedBps;
    /// @notice The recipient of that part. BURN_ADDRESS destroys it.
    address forfeitedTo;
    /// @notice Whether each bond goes into DelayedWETH with its claim, as in the published game. Else a game keeps its bonds
    ///         until it is closed, which makes moves cheaper.
    bool depositedAtOnce;
}

// 100 %, in ten-thousandths.
uint256 constant ALL_BPS = 10_000;

// The largest part of a lost bond that can be kept from the winner. The rest pays the winner's gas.
uint256 constant MAX_FORFEITED_BPS = 5_000;

// An address without a known key.
address constant BURN_ADDRESS = 0x000000000000000000000000000000000000dEaD;

/// @title Bonds of claims
/// @notice A bond pays for the gas of countering the claim, at an assumed base fee. That gas grows geometrically with the
///         depth: from `gasAtRoot` at depth 0 to `gasAtMaxDepth` at the maximum depth D, so
///
///             bond(depth) = assumedBaseFee * floor(gasAtRoot * (gasAtMaxDepth / gasAtRoot)^(depth / D))
///
/// @dev Source: docs/game.md, "Bonds". Fixed point with 18 digits, truncated at each step. With the published game's terms
///      (200 gwei, 400,000 and 300,000,000 gas) it gives the same number to the last digit, for each depth of each maximum
///      depth up to 125 (test/dispute/Bond.t.sol).
library Bond {
    uint256 internal constant WAD = 1e18;

    /// @notice The natural logarithm of the growth from depth 0 to the maximum depth, times 10^18.
    /// @param gasAtRoot At least 1.
    /// @param gasAtMaxDepth At least `gasAtRoot`.
    function logarithmOfGrowth(uint256 gasAtRoot, uint256 gasAtMaxDepth) internal pure returns (uint256) {
        return uint256(FixedPointMathLib.lnWad(int256(FixedPointMathLib.divWad(gasAtMaxDepth, gasAtRoot))));
    }

    /// @notice The bond of a claim, in wei.
    /// @param depth 0 to `maxDepth`; the caller checks.
    /// @param maxDepth 1 to 125.
    /// @param assumedBaseFee See BondTerms, like `gasAtRoot`.
    /// @param lnGrowthWad See `logarithmOfGrowth`.
    function required(uint256 depth, uint256 maxDepth, uint256 assumedBaseFee, uint256 gasAtRoot, uint256 lnGrowthWad)
        internal
        pure
        returns (uint256)
    {
        // ASSUMES: the logarithm is at most 45 WAD, of 2^64, and price and gas are below 2^64; so every product fits.
        unchecked {
            // The logarithm of the factor from one depth to the next.
            uint256 exponent = lnGrowthWad * (WAD / maxDepth) / WAD;
            // WHY NOT the factor's own power, as published: that takes the logarithm of an exponential, which is the
            // exponent again but for the last of 18 digits, and the gas is cut to whole units.
            uint256 growth = uint256(FixedPointMathLib.expWad(int256(exponent * depth)));
            return assumedBaseFee * (gasAtRoot * growth / WAD);
        }
    }
}

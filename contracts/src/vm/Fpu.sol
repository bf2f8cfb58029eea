// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";
import {LibBit} from "solady/utils/LibBit.sol";

/// @title Fpu
/// @notice IEEE 754 binary32 in integers: round to nearest, ties to even; subnormals kept; every NaN result is `NAN`.
///
///     31   30     23 22                    0
///    | s | exponent |       fraction        |     exponent 255: infinity or NaN; 0: zero or subnormal
///
/// A finite value is (-1)^sign * m * 2^e with integers m and e. Each operation makes its exact result in that form, or
/// one that rounds the same (`sticky`), and `rounded` does the only rounding there is.
/// @dev Twin: native/vm/fpu.h, where the host's own floats do what the functions below the conversions do here.
library Fpu {
    uint32 internal constant NAN = 0x7FC00000;
    uint32 internal constant INFINITY = 0x7F800000;
    uint32 internal constant SIGN = 0x80000000;
    uint32 internal constant MAGNITUDE = 0x7FFFFFFF;

    /// @notice What a float too large for 32-bit integers, an infinity or NaN becomes.
    uint32 internal constant INTEGER_INVALID = 0x7FFFFFFF;

    /// @dev The exponent e of the smallest subnormal, 2^-149.
    int256 private constant MIN_EXPONENT = -149;

    /// @dev Where the smaller of two addends stops to matter but for being there; see `_sum`.
    uint256 private constant ALIGNMENT_LIMIT = 128;

    enum Rounding {
        Nearest,
        Truncate,
        Ceil,
        Floor
    }

    function add(uint32 a, uint32 b) internal pure returns (uint32) {
        if (isNan(a) || isNan(b)) return NAN;
        if (isInfinite(a)) return isInfinite(b) && a != b ? NAN : a;
        if (isInfinite(b)) return b;
        (uint256 ma, int256 ea) = _unpack(a);
        (uint256 mb, int256 eb) = _unpack(b);
        return _sum(isNegative(a), ma, ea, isNegative(b), mb, eb);
    }

    function sub(uint32 a, uint32 b) internal pure returns (uint32) {
        return add(a, b ^ SIGN);
    }

    function mul(uint32 a, uint32 b) internal pure returns (uint32) {
        unchecked {
            if (isNan(a) || isNan(b)) return NAN;
            uint32 sign = (a ^ b) & SIGN;
            if (isInfinite(a) || isInfinite(b)) return isZero(a) || isZero(b) ? NAN : sign | INFINITY;
            (uint256 ma, int256 ea) = _unpack(a);
            (uint256 mb, int256 eb) = _unpack(b);
            return rounded(sign != 0, ma * mb, ea + eb);
        }
    }

    function div(uint32 a, uint32 b) internal pure returns (uint32) {
        unchecked {
            if (isNan(a) || isNan(b)) return NAN;
            uint32 sign = (a ^ b) & SIGN;
            if (isInfinite(a)) return isInfinite(b) ? NAN : sign | INFINITY;
            if (isInfinite(b)) return sign;
            if (isZero(b)) return isZero(a) ? NAN : sign | INFINITY;
            (uint256 ma, int256 ea) = _unpack(a);
            (uint256 mb, int256 eb) = _unpack(b);
            // mb < 2^24, so the quotient has at least 40 bits (or is 0), and the sticky bit lies below all that count.
            ma <<= 64;
            return rounded(sign != 0, sticky(ma / mb, ma % mb), ea - eb - 65);
        }
    }

    function sqrt(uint32 a) internal pure returns (uint32) {
        unchecked {
            if (isNan(a)) return NAN;
            if (isZero(a)) return a;
            if (isNegative(a)) return NAN;
            if (isInfinite(a)) return a;
            (uint256 m, int256 e) = _unpack(a);
            // An even exponent halves exactly; 80 more bits give the root at least 40.
            m <<= 80 + uint256(e & 1);
            e -= 80 + (e & 1);
            uint256 root = FixedPointMathLib.sqrt(m);
            return rounded(false, sticky(root, m - root * root), e / 2 - 1);
        }
    }

    /// @notice a * b + c, rounded once.
    function fusedMultiplyAdd(uint32 a, uint32 b, uint32 c) internal pure returns (uint32) {
        unchecked {
            if (isNan(a) || isNan(b) || isNan(c)) return NAN;
            uint32 sign = (a ^ b) & SIGN;
            if (isInfinite(a) || isInfinite(b)) {
                if (isZero(a) || isZero(b)) return NAN;
                return isInfinite(c) && c & SIGN != sign ? NAN : sign | INFINITY;
            }
            if (isInfinite(c)) return c;
            (uint256 ma, int256 ea) = _unpack(a);
            (uint256 mb, int256 eb) = _unpack(b);
            (uint256 mc, int256 ec) = _unpack(c);
            return _sum(sign != 0, ma * mb, ea + eb, isNegative(c), mc, ec);
        }
    }

    /// @notice -a, unless it is a NaN.
    function negateNumber(uint32 a) internal pure returns (uint32) {
        return isNan(a) ? a : a ^ SIGN;
    }

    /// @notice The float nearest to a signed 32-bit integer.
    function fromInt(int32 x) internal pure returns (uint32) {
        unchecked {
            return rounded(x < 0, uint256(x < 0 ? -int256(x) : int256(x)), 0);
        }
    }

    /// @notice A float as a signed 32-bit integer.
    function toInt(uint32 a, Rounding rounding) internal pure returns (uint32) {
        unchecked {
            if (a & MAGNITUDE >= 0x4F800000) return INTEGER_INVALID; // 2^32 or more, infinity or NaN
            bool negative = isNegative(a);
            (uint256 m, int256 e) = _unpack(a);
            // Twice the magnitude, to see a half; and what lies below it.
            uint256 twice = e >= 0 ? m << uint256(e + 1) : (m << 1) >> uint256(-e);
            bool isInexact = e < 0 && (twice << uint256(-e)) != m << 1;
            uint256 n = twice >> 1;
            bool hasHalf = twice & 1 != 0;
            if (rounding == Rounding.Nearest) {
                if (hasHalf && (isInexact || n & 1 != 0)) ++n;
            } else if (rounding == Rounding.Ceil) {
                if (!negative && (hasHalf || isInexact)) ++n;
            } else if (rounding == Rounding.Floor) {
                if (negative && (hasHalf || isInexact)) ++n;
            }
            if (n > (negative ? 0x80000000 : 0x7FFFFFFF)) return INTEGER_INVALID;
            return uint32(negative ? uint256(0) - n : n);
        }
    }

    /// @notice How `a` relates to `b`. No NaN equals or is less than anything.
    function compare(uint32 a, uint32 b) internal pure returns (bool isUnordered, bool isEqual, bool isLess) {
        isUnordered = isNan(a) || isNan(b);
        if (isUnordered) return (true, false, false);
        int256 ordA = _ordinal(a);
        int256 ordB = _ordinal(b);
        return (false, ordA == ordB, ordA < ordB);
    }

    function isNan(uint32 a) internal pure returns (bool) {
        return a & MAGNITUDE > INFINITY;
    }

    function isInfinite(uint32 a) internal pure returns (bool) {
        return a & MAGNITUDE == INFINITY;
    }

    function isZero(uint32 a) internal pure returns (bool) {
        return a & MAGNITUDE == 0;
    }

    function isNegative(uint32 a) internal pure returns (bool) {
        return a & SIGN != 0;
    }

    /// @notice `m` with one more bit, set if something non-zero was cut off below it.
    function sticky(uint256 m, uint256 rest) internal pure returns (uint256) {
        return (m << 1) | (rest == 0 ? 0 : 1);
    }

    /// @notice The float nearest to (-1)^negative * m * 2^e, ties to even.
    function rounded(bool negative, uint256 m, int256 e) internal pure returns (uint32) {
        unchecked {
            uint32 sign = negative ? SIGN : 0;
            if (m == 0) return sign;
            // The last place that is kept: 23 below the highest bit, but not below the smallest subnormal's.
            int256 last = e + int256(LibBit.fls(m)) - 23;
            if (last < MIN_EXPONENT) last = MIN_EXPONENT;
            if (last <= e) {
                m <<= uint256(e - last);
            } else {
                uint256 drop = uint256(last - e);
                uint256 kept = m >> drop; // 0 for 256 and more
                uint256 half = 1 << (drop - 1); // 0 for 257 and more: then m < half, and kept is 0
                uint256 rest = m ^ (kept << drop);
                m = kept;
                if (half != 0 && (rest > half || (rest == half && kept & 1 != 0))) ++m;
            }
            // Adding m, not only its fraction: a normal's leading bit counts the exponent up by the one that the
            // formula leaves out, as does the carry of a round-up to the next power of two.
            uint256 bits = (uint256(last - MIN_EXPONENT) << 23) + m;
            return sign | (bits < INFINITY ? uint32(bits) : INFINITY);
        }
    }

    /// @dev Rounds the sum of two finite values. Their integers are below 2^48.
    function _sum(bool aNegative, uint256 ma, int256 ea, bool bNegative, uint256 mb, int256 eb)
        private
        pure
        returns (uint32)
    {
        unchecked {
            // A zero has no exponent of its own to align to.
            if (ma == 0) ea = eb;
            if (mb == 0) eb = ea;
            if (ea < eb) {
                (aNegative, bNegative) = (bNegative, aNegative);
                (ma, mb) = (mb, ma);
                (ea, eb) = (eb, ea);
            }
            uint256 gap = uint256(ea - eb);
            if (gap > ALIGNMENT_LIMIT) {
                // The smaller one is not 0, and below 2^48 units where the larger one is a multiple of 2^128 of them: any
                // value between 0 and that rounds the same.
                gap = ALIGNMENT_LIMIT;
                eb = ea - int256(ALIGNMENT_LIMIT);
                mb = 1;
            }
            ma <<= gap;
            if (aNegative == bNegative) return rounded(aNegative, ma + mb, eb);
            // A sum that is exactly zero is +0, as the signs differ.
            if (ma == mb) return 0;
            return ma > mb ? rounded(aNegative, ma - mb, eb) : rounded(bNegative, mb - ma, eb);
        }
    }

    /// @dev The integers of a finite value: m < 2^24, e from -149 to 104.
    function _unpack(uint32 a) private pure returns (uint256 m, int256 e) {
        unchecked {
            uint256 exponent = (a >> 23) & 0xFF;
            m = a & 0x7FFFFF;
            if (exponent == 0) return (m, MIN_EXPONENT);
            return (m | 0x800000, int256(exponent) - 150);
        }
    }

    /// @dev Orders all floats but NaN as integers; both zeros are 0.
    function _ordinal(uint32 a) private pure returns (int256) {
        int256 magnitude = int256(uint256(a & MAGNITUDE));
        return isNegative(a) ? -magnitude : magnitude;
    }
}

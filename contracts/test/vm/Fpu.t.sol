// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Fpu} from "../../src/vm/Fpu.sol";
import {Test} from "../Test.sol";

/// @notice Laws of IEEE 754 arithmetic that hold whatever the operands. (That each result is the right one is shown
/// against an independent implementation, for all pairs of awkward values, by tests/agreement.)
contract FpuTest is Test {
    uint32 internal constant ONE = 0x3F800000;
    uint32 internal constant TWO = 0x40000000;
    uint32 internal constant LARGEST = 0x7F7FFFFF;
    uint32 internal constant SMALLEST = 0x00000001;
    uint32 internal constant SMALLEST_NORMAL = 0x00800000;

    function test_sums_roundToNearestEven() public pure {
        vm.assertEq(Fpu.add(ONE, 0x33800000), ONE); // 1 + 2^-24: a tie, down to even
        vm.assertEq(Fpu.add(ONE + 1, 0x33800000), ONE + 2); // a tie, up to even
        vm.assertEq(Fpu.add(ONE, 0x33800001), ONE + 1); // more than half
        vm.assertEq(Fpu.add(LARGEST, 0x73000000), Fpu.INFINITY); // half of the last place, up to 2^128
        vm.assertEq(Fpu.add(LARGEST, 0x72FFFFFF), LARGEST);
        vm.assertEq(Fpu.add(SMALLEST_NORMAL, SMALLEST | Fpu.SIGN), 0x007FFFFF);
    }

    function test_products_underflowGradually() public pure {
        vm.assertEq(Fpu.mul(SMALLEST, 0x3F000000), 0); // half the smallest: a tie, down to even
        vm.assertEq(Fpu.mul(SMALLEST, 0x3F000001), SMALLEST);
        vm.assertEq(Fpu.mul(3, 0x3F000000), 2); // 1.5 of the smallest: a tie, up to even
        vm.assertEq(Fpu.mul(LARGEST, LARGEST), Fpu.INFINITY);
        vm.assertEq(Fpu.div(SMALLEST, LARGEST), 0);
        vm.assertEq(Fpu.sqrt(SMALLEST), 0x1A3504F3); // 2^-74.5
    }

    function test_invalidOperations_giveTheNaN() public pure {
        uint32 minusInfinity = Fpu.INFINITY | Fpu.SIGN;
        vm.assertEq(Fpu.add(Fpu.INFINITY, minusInfinity), Fpu.NAN);
        vm.assertEq(Fpu.sub(Fpu.INFINITY, Fpu.INFINITY), Fpu.NAN);
        vm.assertEq(Fpu.mul(0, minusInfinity), Fpu.NAN);
        vm.assertEq(Fpu.div(0, Fpu.SIGN), Fpu.NAN);
        vm.assertEq(Fpu.div(Fpu.INFINITY, minusInfinity), Fpu.NAN);
        vm.assertEq(Fpu.sqrt(ONE | Fpu.SIGN), Fpu.NAN);
        vm.assertEq(Fpu.sqrt(Fpu.SIGN), Fpu.SIGN); // -0 is its own root
        vm.assertEq(Fpu.fusedMultiplyAdd(Fpu.INFINITY, 0, ONE), Fpu.NAN);
        vm.assertEq(Fpu.fusedMultiplyAdd(Fpu.INFINITY, ONE, minusInfinity), Fpu.NAN);
        vm.assertEq(Fpu.div(ONE, Fpu.SIGN), minusInfinity);
    }

    function testFuzz_nan_isContagiousAndHasOneFace(uint32 payload, uint32 a, uint32 b) public pure {
        uint32 nan = payload | 0x7F800000;
        if (nan & 0x7FFFFF == 0) nan |= 1;
        vm.assertEq(Fpu.add(nan, a), Fpu.NAN);
        vm.assertEq(Fpu.sub(a, nan), Fpu.NAN);
        vm.assertEq(Fpu.mul(nan, a), Fpu.NAN);
        vm.assertEq(Fpu.div(a, nan), Fpu.NAN);
        vm.assertEq(Fpu.sqrt(nan), Fpu.NAN);
        vm.assertEq(Fpu.fusedMultiplyAdd(a, b, nan), Fpu.NAN);
        vm.assertEq(Fpu.fusedMultiplyAdd(a, nan, b), Fpu.NAN);
        vm.assertEq(Fpu.negateNumber(Fpu.NAN), Fpu.NAN);
        vm.assertEq(Fpu.toInt(nan, Fpu.Rounding.Nearest), Fpu.INTEGER_INVALID);
    }

    function testFuzz_sumAndProduct_commute(uint32 a, uint32 b) public pure {
        vm.assertEq(Fpu.add(a, b), Fpu.add(b, a));
        vm.assertEq(Fpu.mul(a, b), Fpu.mul(b, a));
    }

    function testFuzz_neutralElements(uint32 a) public pure {
        vm.assume(!Fpu.isNan(a));
        vm.assertEq(Fpu.mul(a, ONE), a);
        vm.assertEq(Fpu.div(a, ONE), a);
        vm.assertEq(Fpu.add(a, Fpu.SIGN), a); // -0 is neutral, +0 turns -0 into +0
        vm.assertEq(Fpu.sub(a, a), Fpu.isInfinite(a) ? Fpu.NAN : 0);
        vm.assertEq(Fpu.add(a, a), Fpu.mul(a, TWO));
    }

    function testFuzz_signs_mirror(uint32 a, uint32 b, uint32 c) public pure {
        vm.assertEq(Fpu.mul(a ^ Fpu.SIGN, b), Fpu.negateNumber(Fpu.mul(a, b)));
        vm.assertEq(Fpu.div(a, b ^ Fpu.SIGN), Fpu.negateNumber(Fpu.div(a, b)));
        uint32 sum = Fpu.fusedMultiplyAdd(a, b, c);
        if (!Fpu.isZero(sum)) {
            // The sign of an exact zero sum does not mirror: it is + both ways.
            vm.assertEq(Fpu.fusedMultiplyAdd(a ^ Fpu.SIGN, b, c ^ Fpu.SIGN), Fpu.negateNumber(sum));
        }
    }

    function testFuzz_fused_containsSumAndProduct(uint32 a, uint32 b) public pure {
        vm.assertEq(Fpu.fusedMultiplyAdd(a, ONE, b), Fpu.add(a, b));
        uint32 zero = (a ^ b) & Fpu.SIGN; // the product's own sign, so that adding it changes nothing
        vm.assertEq(Fpu.fusedMultiplyAdd(a, b, zero), Fpu.mul(a, b));
    }

    /// @notice The error of a product is itself a float, unless it underflows: so a fused step finds it exactly, and
    /// adding it to the product in a second one changes nothing.
    function testFuzz_fused_findsTheErrorOfAProduct(uint32 a, uint32 b) public pure {
        a = _withExponent(a, 100, 150);
        b = _withExponent(b, 100, 150);
        uint32 product = Fpu.mul(a, b);
        uint32 err = Fpu.fusedMultiplyAdd(a, b, product ^ Fpu.SIGN);
        vm.assertEq(Fpu.add(product, err), product);
        vm.assertEq(Fpu.sub(Fpu.fusedMultiplyAdd(a, b, err ^ Fpu.SIGN), product), 0);
    }

    function testFuzz_quotient_isNearest(uint32 a, uint32 b) public pure {
        a = _withExponent(a, 100, 150);
        b = _withExponent(b, 100, 150);
        uint32 q = Fpu.div(a, b);
        // |a - q b| <= |a - q' b| for both neighbours q'.
        uint32 rest = Fpu.fusedMultiplyAdd(q, b ^ Fpu.SIGN, a) & Fpu.MAGNITUDE;
        vm.assertTrue(rest <= Fpu.fusedMultiplyAdd(q + 1, b ^ Fpu.SIGN, a) & Fpu.MAGNITUDE);
        vm.assertTrue(rest <= Fpu.fusedMultiplyAdd(q - 1, b ^ Fpu.SIGN, a) & Fpu.MAGNITUDE);
    }

    function testFuzz_root_isNearest(uint32 a) public pure {
        a = _withExponent(a, 30, 220) & Fpu.MAGNITUDE;
        uint32 root = Fpu.sqrt(a);
        uint32 rest = Fpu.fusedMultiplyAdd(root, root ^ Fpu.SIGN, a) & Fpu.MAGNITUDE;
        vm.assertTrue(rest <= Fpu.fusedMultiplyAdd(root + 1, (root + 1) ^ Fpu.SIGN, a) & Fpu.MAGNITUDE);
        vm.assertTrue(rest <= Fpu.fusedMultiplyAdd(root - 1, (root - 1) ^ Fpu.SIGN, a) & Fpu.MAGNITUDE);
    }

    function testFuzz_square_hasItsRoot(uint16 n) public pure {
        uint32 x = Fpu.fromInt(int32(uint32(n) & 0xFFF));
        vm.assertEq(Fpu.sqrt(Fpu.mul(x, x)), x);
    }

    function testFuzz_smallIntegers_comeBack(int32 n, uint8 rounding) public pure {
        n = n % (1 << 24);
        uint32 back = Fpu.toInt(Fpu.fromInt(n), Fpu.Rounding(rounding % 4));
        vm.assertEq(int256(int32(back)), int256(n));
    }

    function testFuzz_roundings_bracket(uint32 a) public pure {
        uint32 down = Fpu.toInt(a, Fpu.Rounding.Floor);
        uint32 up = Fpu.toInt(a, Fpu.Rounding.Ceil);
        uint32 nearest = Fpu.toInt(a, Fpu.Rounding.Nearest);
        uint32 zero = Fpu.toInt(a, Fpu.Rounding.Truncate);
        if (down == Fpu.INTEGER_INVALID || up == Fpu.INTEGER_INVALID) return;
        vm.assertTrue(int32(up) - int32(down) == 0 || int32(up) - int32(down) == 1);
        vm.assertTrue(nearest == up || nearest == down);
        vm.assertEq(uint256(zero), Fpu.isNegative(a) ? up : down);
    }

    function test_toInt_saturates() public pure {
        vm.assertEq(Fpu.toInt(0x4F000000, Fpu.Rounding.Truncate), Fpu.INTEGER_INVALID); // 2^31
        vm.assertEq(Fpu.toInt(0x4EFFFFFF, Fpu.Rounding.Ceil), 0x7FFFFF80); // the last float below
        vm.assertEq(Fpu.toInt(0xCF000000, Fpu.Rounding.Floor), 0x80000000); // -2^31
        vm.assertEq(Fpu.toInt(0xCF000001, Fpu.Rounding.Truncate), Fpu.INTEGER_INVALID);
        vm.assertEq(Fpu.toInt(0x3F000000, Fpu.Rounding.Nearest), 0); // 0.5
        vm.assertEq(Fpu.toInt(0x3FC00000, Fpu.Rounding.Nearest), 2); // 1.5
        vm.assertEq(Fpu.toInt(0x80000001, Fpu.Rounding.Floor), type(uint32).max); // just below 0
    }

    function testFuzz_compare_isATotalOrderOfNumbers(uint32 a, uint32 b) public pure {
        (bool unordered, bool equal, bool less) = Fpu.compare(a, b);
        (bool unordered2, bool equal2, bool greater) = Fpu.compare(b, a);
        vm.assertTrue(unordered == unordered2 && equal == equal2);
        uint256 holding = (unordered ? 1 : 0) + (equal ? 1 : 0) + (less ? 1 : 0) + (greater ? 1 : 0);
        vm.assertEq(holding, 1);
        vm.assertEq(unordered, Fpu.isNan(a) || Fpu.isNan(b));
    }

    function testFuzz_compare_agreesWithSubtraction(uint32 a, uint32 b) public pure {
        (bool unordered, bool equal, bool less) = Fpu.compare(a, b);
        if (unordered || Fpu.isInfinite(a) || Fpu.isInfinite(b)) return;
        // Subnormals make this exact: a difference is 0 only if the operands are equal.
        uint32 difference = Fpu.sub(a, b);
        vm.assertEq(equal, Fpu.isZero(difference));
        vm.assertEq(less, Fpu.isNegative(difference) && !Fpu.isZero(difference));
    }

    /// @dev `a` with its exponent field moved into [low, high]: no overflow or underflow where the caller chose so.
    function _withExponent(uint32 a, uint256 low, uint256 high) internal pure returns (uint32) {
        return (a & 0x807FFFFF) | (uint32(bound((a >> 23) & 0xFF, low, high)) << 23);
    }
}

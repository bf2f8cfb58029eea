// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {LOCAL_KEY, PreimageKey, preimageKey} from "../../src/vm/PreimageKey.sol";
import {PreimageOracle} from "../../src/vm/PreimageOracle.sol";
import {InvalidProof, NotEnoughGas, PartOffsetOOB} from "../../src/vm/preimages/PreimageErrors.sol";
import {Test} from "../Test.sol";
import {LocalContext} from "../../src/vm/LocalContext.sol";

/// @notice Parts of pre-images: what can be loaded, and that reading gives back the object's own bytes.
contract PreimageOracleTest is Test {
    address internal constant GAME = 0x00000000000000000000000000000000Ca11e401;

    PreimageOracle internal oracle;

    function setUp() public {
        oracle = new PreimageOracle(126_000, 86_400);
    }

    /// @dev The slow obvious version: byte i of (length ++ preimage ++ zeros), for 32 bytes from `offset`.
    function slowPart(bytes memory preimage, uint256 offset) internal pure returns (bytes32 part) {
        bytes memory object = abi.encodePacked(uint64(preimage.length), preimage);
        for (uint256 i = 0; i < 32; ++i) {
            if (offset + i < object.length) part |= bytes32(object[offset + i]) >> (8 * i);
        }
    }

    function slowLength(uint256 length, uint256 offset) internal pure returns (uint256) {
        return length + 8 - offset < 32 ? length + 8 - offset : 32;
    }

    function test_getters_answerWhatClientsAskAtStart() public view {
        vm.assertEq(oracle.version(), "1.1.5");
        vm.assertEq(oracle.minProposalSize(), 126_000);
        vm.assertEq(oracle.challengePeriod(), 86_400);
        vm.assertEq(oracle.proposalCount(), 0);
    }

    function test_constructor_refusesAPeriodThatNoClockHolds() public {
        new PreimageOracle(0, type(uint64).max);
        vm.expectRevert("PreimageOracle: challenge period too large");
        new PreimageOracle(0, uint256(type(uint64).max) + 1);
    }

    function test_keccakKey_hasItsCheckValue() public {
        oracle.loadKeccak256PreimagePart(0, "abc");
        PreimageKey key = PreimageKey.wrap(0x0203657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45);
        vm.assertTrue(oracle.preimagePartOk(key, 0));
        vm.assertEq(oracle.preimageLengths(key), 3);
        vm.assertEq(oracle.preimageParts(key, 0), bytes32(hex"0000000000000003616263"));
    }

    function test_sha256Key_hasItsCheckValue() public {
        oracle.loadSha256PreimagePart(8, "abc");
        PreimageKey key = PreimageKey.wrap(0x047816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad);
        (bytes32 part, uint256 length) = oracle.readPreimage(key, 8);
        vm.assertEq(part, bytes32("abc"));
        vm.assertEq(length, 3);
    }

    function test_localKey_hasItsCheckValue() public {
        PreimageKey key = preimageKey(bytes32(uint256(5)), LOCAL_KEY).localized(GAME, LocalContext.wrap(0));
        vm.assertEq(key.raw(), 0x013588b2a71b0990c29f49949eae7b437af7a7050b34cc1c0f8b3cc4003ee301);
        vm.prank(GAME);
        vm.assertEq(oracle.loadLocalData(5, LocalContext.wrap(0), bytes32(uint256(901) << 192), 8, 0).raw(), key.raw());
    }

    function testFuzz_keccak_readsBackWhatWasLoaded(bytes calldata preimage, uint256 offset) public {
        offset = bound(offset, 0, preimage.length + 7);
        oracle.loadKeccak256PreimagePart(offset, preimage);
        PreimageKey key = preimageKey(keccak256(preimage), 2);
        (bytes32 part, uint256 length) = oracle.readPreimage(key, offset);
        vm.assertEq(part, slowPart(preimage, offset));
        vm.assertEq(length, slowLength(preimage.length, offset));
        vm.assertEq(oracle.preimageLengths(key), preimage.length);
    }

    function testFuzz_sha256_readsBackWhatWasLoaded(bytes calldata preimage, uint256 offset) public {
        offset = bound(offset, 0, preimage.length + 7);
        oracle.loadSha256PreimagePart(offset, preimage);
        (bytes32 part, uint256 length) = oracle.readPreimage(preimageKey(sha256(preimage), 4), offset);
        vm.assertEq(part, slowPart(preimage, offset));
        vm.assertEq(length, slowLength(preimage.length, offset));
    }

    function testFuzz_part_isReadOnlyWhereItWasLoaded(bytes calldata preimage, uint256 offset, uint256 other) public {
        offset = bound(offset, 0, preimage.length + 7);
        vm.assume(other != offset);
        oracle.loadKeccak256PreimagePart(offset, preimage);
        vm.expectRevert("pre-image must exist");
        oracle.readPreimage(preimageKey(keccak256(preimage), 2), other);
    }

    function testFuzz_offsetBehindTheEnd_isRefused(bytes calldata preimage, uint256 offset) public {
        offset = bound(offset, preimage.length + 8, type(uint256).max);
        vm.expectRevert(PartOffsetOOB.selector);
        oracle.loadKeccak256PreimagePart(offset, preimage);
        vm.expectRevert(PartOffsetOOB.selector);
        oracle.loadSha256PreimagePart(offset, preimage);
    }

    function testFuzz_local_readsBackWhatWasLoaded(
        uint256 ident,
        bytes32 context,
        bytes32 word,
        uint256 size,
        uint256 offset
    ) public {
        size = bound(size, 0, 32);
        offset = bound(offset, 0, size + 7);
        PreimageKey key = oracle.loadLocalData(ident, LocalContext.wrap(context), word, size, offset);
        // All 32 bytes of the word are in the part, whatever the size; reading says how many of them count.
        bytes32 expected = offset < 8
            ? (bytes32(size << 192) << (8 * offset)) | (word >> (8 * (8 - offset)))
            : word << (8 * (offset - 8));
        (bytes32 part, uint256 length) = oracle.readPreimage(key, offset);
        vm.assertEq(part, expected);
        vm.assertEq(length, slowLength(size, offset));
        vm.assertEq(uint8(key.raw()[0]), 1);
    }

    function testFuzz_local_isSomeoneElsesUnderAnotherKey(address other, uint256 ident, bytes32 context, bytes32 word)
        public
    {
        vm.assume(other != address(this));
        PreimageKey ours = oracle.loadLocalData(ident, LocalContext.wrap(context), word, 32, 0);
        vm.prank(other);
        vm.assertNotEq(oracle.loadLocalData(ident, LocalContext.wrap(context), word, 32, 0).raw(), ours.raw());
        LocalContext other_ = LocalContext.wrap(keccak256(abi.encode(context)));
        vm.assertNotEq(oracle.loadLocalData(ident, other_, word, 32, 0).raw(), ours.raw());
    }

    function testFuzz_local_refusesMoreThanAWord(uint256 size, uint256 offset) public {
        vm.expectRevert(PartOffsetOOB.selector);
        oracle.loadLocalData(1, LocalContext.wrap(0), 0, bound(size, 33, type(uint256).max), 0);
        size = bound(size, 0, 32);
        vm.expectRevert(PartOffsetOOB.selector);
        oracle.loadLocalData(1, LocalContext.wrap(0), 0, size, bound(offset, size + 8, type(uint256).max));
    }

    function test_local_loadedAnewAndShorter_movesTheEnd() public {
        PreimageKey key = oracle.loadLocalData(1, LocalContext.wrap(0), bytes32(type(uint256).max), 32, 20);
        oracle.loadLocalData(1, LocalContext.wrap(0), bytes32(type(uint256).max), 12, 0);
        (, uint256 length) = oracle.readPreimage(key, 20); // exactly at the new end
        vm.assertEq(length, 0);
        oracle.loadLocalData(1, LocalContext.wrap(0), bytes32(type(uint256).max), 11, 0);
        vm.expectRevert();
        oracle.readPreimage(key, 20); // behind it
    }

    /// @dev Without a right proof nothing is loaded. Right ones: tests/agreement/test_preimage_oracle.py.
    function testFuzz_blob_refusesWhatIsNoProof(uint256 z, uint256 y, bytes32 seed, uint256 offset) public {
        bytes memory point = bytes.concat(keccak256(abi.encode(seed)), bytes16(seed));
        vm.expectRevert(InvalidProof.selector);
        oracle.loadBlobPreimagePart(z, y, point, point, offset);
        vm.expectRevert();
        oracle.loadBlobPreimagePart(z, y, new bytes(47), point, offset);
    }

    function test_blob_ofThePolynomialZero_isZeroEverywhere() public {
        // The point at infinity commits to the polynomial 0, and proves it everywhere.
        bytes memory infinity = bytes.concat(bytes1(0xc0), new bytes(47));
        oracle.loadBlobPreimagePart(5, 0, infinity, infinity, 4);
        PreimageKey key = preimageKey(keccak256(bytes.concat(infinity, bytes32(uint256(5)))), 5);
        (bytes32 part, uint256 length) = oracle.readPreimage(key, 4);
        vm.assertEq(part, bytes32(uint256(32) << 224));
        vm.assertEq(length, 32);
        vm.expectRevert(PartOffsetOOB.selector);
        oracle.loadBlobPreimagePart(5, 0, infinity, infinity, 40);
    }

    function test_blob_whatFollowsAPointIsNotLookedAt() public {
        bytes memory infinity = bytes.concat(bytes1(0xc0), new bytes(47));
        oracle.loadBlobPreimagePart(5, 0, bytes.concat(infinity, hex"01"), bytes.concat(infinity, hex"02"), 4);
        vm.assertTrue(oracle.preimagePartOk(preimageKey(keccak256(bytes.concat(infinity, bytes32(uint256(5)))), 5), 4));
    }

    function testFuzz_precompile_readsBackItsAnswer(bytes calldata input, uint256 offset) public {
        bytes memory answer = bytes.concat(hex"01", input); // of the identity, 0x04
        offset = bound(offset, 0, answer.length + 7);
        oracle.loadPrecompilePreimagePart(offset, address(4), 3000, input);
        PreimageKey key = preimageKey(keccak256(abi.encodePacked(address(4), uint64(3000), input)), 6);
        (bytes32 part, uint256 length) = oracle.readPreimage(key, offset);
        vm.assertEq(part, slowPart(answer, offset));
        vm.assertEq(length, slowLength(answer.length, offset));
        vm.expectRevert(PartOffsetOOB.selector);
        oracle.loadPrecompilePreimagePart(answer.length + 8, address(4), 3000, input);
    }

    function test_precompile_thatFails_answersAZeroByte() public {
        bytes memory noPoint = abi.encode(1, 1, 1, 1); // of bn256Add, 0x06
        oracle.loadPrecompilePreimagePart(8, address(6), 150, noPoint);
        PreimageKey key = preimageKey(keccak256(abi.encodePacked(address(6), uint64(150), noPoint)), 6);
        (bytes32 part, uint256 length) = oracle.readPreimage(key, 8);
        vm.assertEq(part, 0);
        vm.assertEq(length, 1);
    }

    /// @dev A caller who gives too little gas cannot make a call look as if it had failed.
    function testFuzz_precompile_isGivenTheGasOfItsKey(uint64 requiredGas, uint256 given) public {
        requiredGas = uint64(bound(requiredGas, 0, 30_000_000));
        given = bound(given, 60_000, 40_000_000);
        bytes memory input = abi.encode(1, 2, 1, 2);
        PreimageKey key = preimageKey(keccak256(abi.encodePacked(address(6), requiredGas, input)), 6);
        try oracle.loadPrecompilePreimagePart{gas: given}(8, address(6), requiredGas, input) {
            vm.assertEq(uint8(oracle.preimageParts(key, 8)[0]), 1);
        } catch (bytes memory reason) {
            vm.assertFalse(oracle.preimagePartOk(key, 8));
            vm.assertTrue(reason.length == 0 || bytes4(reason) == NotEnoughGas.selector);
            vm.assertLt(given, uint256(requiredGas) * 64 / 63 + 300_000);
        }
    }

    /// @dev Whether a call with so much gas is refused for having too little.
    function isRefused(uint64 requiredGas, uint256 given) internal returns (bool) {
        bytes memory call = abi.encodeCall(oracle.loadPrecompilePreimagePart, (8, address(4), requiredGas, ""));
        (bool isDone, bytes memory reason) = address(oracle).call{gas: given}(call);
        return !isDone && bytes4(reason) == NotEnoughGas.selector;
    }

    /// @dev With how much gas a call is not refused any more, and what one that is uses.
    function leastGas(uint64 requiredGas) internal returns (uint256 least, uint256 used) {
        isRefused(requiredGas, 50_000); // addresses and places are warm from now on
        uint256 low = 20_000;
        least = 2 * uint256(requiredGas) + 400_000;
        while (least - low > 1) {
            uint256 middle = (low + least) / 2;
            if (isRefused(requiredGas, middle)) low = middle;
            else least = middle;
        }
        used = gasleft();
        isRefused(requiredGas, low);
        used -= gasleft();
    }

    function test_precompile_needsSoMuchGasThatTheCallGetsWhatItRequires() public {
        (uint256 none, uint256 used) = leastGas(0);
        // A refused call, and what calls it, use some gas besides.
        vm.assertGe(none + 100, oracle.PRECOMPILE_CALL_RESERVED_GAS());
        vm.assertLe(none, oracle.PRECOMPILE_CALL_RESERVED_GAS() + used);
        (uint256 one,) = leastGas(1);
        vm.assertEq(one, none + 2); // 64 of 63 parts, rounded up
        for (uint64 i = 1; i < 4; ++i) {
            (uint256 many,) = leastGas(63_000 * i);
            vm.assertEq(many, none + 64_000 * i);
        }
    }
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Test} from "../Test.sol";
import {randomBytes} from "./helpers/RandomBytes.sol";
import {InputParts} from "../../src/oracle/InputParts.sol";
import {SegmentTree} from "../../src/oracle/SegmentTree.sol";
import {IInputParts, Publication, Upload} from "../../src/oracle/interfaces/IInputParts.sol";
import {InputRoot} from "../../src/oracle/SectionRoot.sol";

/// @notice Inputs published in parts have the root of the whole image, and belong to who publishes them.
contract InputPartsTest is Test {
    uint256 internal constant PART = 65_536;
    bytes32 internal constant SALT = "salt";
    address internal constant OTHER = address(0xbeef);

    InputParts internal parts = new InputParts();

    function wholeRoot(bytes calldata image) external pure returns (InputRoot) {
        return SegmentTree.inputRootOf(image);
    }

    function part(bytes calldata image, uint256 index) external pure returns (bytes memory) {
        uint256 end = (index + 1) * PART;
        return image[index * PART:end < image.length ? end : image.length];
    }

    function publish(bytes32 salt, bytes memory image) internal returns (bytes32 uploadId) {
        uint256 count = (image.length + PART - 1) / PART;
        for (uint256 i = 0; i < count; ++i) {
            parts.addPart(salt, i, this.part(image, i), i == count - 1);
        }
        return parts.uploadIdOf(address(this), salt);
    }

    function expectPublished(bytes memory image, bytes32 uploadId) internal view {
        Publication memory found = parts.publications(this.wholeRoot(image));
        vm.assertEq(found.sizeBytes, image.length);
        vm.assertEq(found.uploadId, uploadId);
        vm.assertEq(found.firstBlock, block.number);
        vm.assertEq(found.lastBlock, block.number);
        vm.assertTrue(parts.uploads(uploadId).isComplete);
    }

    function test_addPart_everyNumberOfPartsGivesTheRootOfTheWhole() public {
        for (uint256 count = 1; count <= 9; ++count) {
            bytes memory image = randomBytes(count * PART, count);
            expectPublished(image, publish(bytes32(count), image));
        }
    }

    function testFuzz_addPart_anyLastPart(uint256 seed, uint256 size) public {
        bytes memory image = randomBytes(bound(size, 1, 3 * PART), seed);
        expectPublished(image, publish(SALT, image));
    }

    function test_addPart_theFirstPublicationStays() public {
        bytes memory image = randomBytes(100, 1);
        bytes32 first = publish("first", image);
        vm.roll(block.number + 5);
        publish("second", image);
        vm.assertEq(parts.publications(this.wholeRoot(image)).uploadId, first);
    }

    function test_addPart_countsBlocks() public {
        bytes memory image = randomBytes(PART + 1, 1);
        vm.roll(100);
        parts.addPart(SALT, 0, this.part(image, 0), false);
        vm.roll(107);
        parts.addPart(SALT, 1, this.part(image, 1), true);
        Publication memory found = parts.publications(this.wholeRoot(image));
        vm.assertEq(found.firstBlock, 100);
        vm.assertEq(found.lastBlock, 107);
    }

    function test_addPart_tellsWhatItAdded() public {
        bytes memory image = randomBytes(40, 1);
        bytes32 uploadId = parts.uploadIdOf(address(this), SALT);
        vm.expectEmit(address(parts));
        emit IInputParts.PartAdded(uploadId, 0, image);
        vm.expectEmit(address(parts));
        emit IInputParts.InputPublished(this.wholeRoot(image), uploadId, 40);
        parts.addPart(SALT, 0, image, true);
    }

    function test_addPart_sentTwiceIsRefused() public {
        bytes memory first = randomBytes(PART, 1);
        parts.addPart(SALT, 0, first, false);
        vm.expectRevert(abi.encodeWithSelector(IInputParts.UnexpectedPart.selector, 0, 1));
        parts.addPart(SALT, 0, first, false);
        vm.expectRevert(abi.encodeWithSelector(IInputParts.UnexpectedPart.selector, 2, 1));
        parts.addPart(SALT, 2, first, false);
    }

    /// @notice 2^20 parts fill the section; there is no place for another.
    function test_addPart_noMoreThanTheSectionHolds() public {
        bytes memory last = randomBytes(PART, 1);
        bytes32 uploadId = parts.uploadIdOf(address(this), SALT);
        bytes32 slot = keccak256(abi.encode(uploadId, 0)); // of the upload, which begins with the number of its parts
        vm.store(address(parts), slot, bytes32(uint256(2 ** 20)));
        vm.assertEq(parts.uploads(uploadId).partCount, 2 ** 20);
        vm.expectRevert(IInputParts.InputTooLarge.selector);
        parts.addPart(SALT, 2 ** 20, last, true);

        vm.store(address(parts), slot, bytes32(uint256(2 ** 20 - 1)));
        parts.addPart(SALT, 2 ** 20 - 1, last, true);
        bytes32 root = this.partRoot(last);
        for (uint256 level = 16; level < 36; ++level) {
            root = SegmentTree.hashPair(bytes32(0), root); // no part before it was added here
        }
        vm.assertEq(parts.publications(InputRoot.wrap(root)).sizeBytes, 2 ** 36);
    }

    function test_addPart_endsWithTheLastPart() public {
        bytes32 uploadId = publish(SALT, randomBytes(10, 1));
        vm.expectRevert(abi.encodeWithSelector(IInputParts.UploadComplete.selector, uploadId));
        parts.addPart(SALT, 1, "more", true);
    }

    function test_addPart_nobodyElseAddsToAnUpload() public {
        bytes memory image = randomBytes(PART + 1, 1);
        bytes memory last = this.part(image, 1);
        parts.addPart(SALT, 0, this.part(image, 0), false);
        vm.prank(OTHER);
        vm.expectRevert(abi.encodeWithSelector(IInputParts.UnexpectedPart.selector, 1, 0));
        parts.addPart(SALT, 1, last, true);
        vm.prank(OTHER);
        parts.addPart(SALT, 0, "something else", true);
        parts.addPart(SALT, 1, last, true);
        expectPublished(image, parts.uploadIdOf(address(this), SALT));
    }

    function test_addPart_sizes() public {
        bytes memory short = randomBytes(PART - 1, 1);
        bytes memory long = randomBytes(PART + 1, 1);
        vm.expectRevert(abi.encodeWithSelector(IInputParts.BadPartSize.selector, PART - 1));
        parts.addPart(SALT, 0, short, false);
        vm.expectRevert(abi.encodeWithSelector(IInputParts.BadPartSize.selector, PART + 1));
        parts.addPart(SALT, 0, long, true);
        vm.expectRevert(abi.encodeWithSelector(IInputParts.BadPartSize.selector, 0));
        parts.addPart(SALT, 0, "", true);
    }

    function test_uploads_digestCommitsToAllParts() public {
        bytes memory image = randomBytes(2 * PART, 1);
        bytes32 digest = 0;
        for (uint256 i = 0; i < 2; ++i) {
            bytes memory content = this.part(image, i);
            digest = SegmentTree.hashPair(digest, this.partRoot(content));
            parts.addPart(SALT, i, content, i == 1);
            Upload memory upload = parts.uploads(parts.uploadIdOf(address(this), SALT));
            vm.assertEq(upload.digest, digest);
            vm.assertEq(upload.partCount, i + 1);
        }
    }

    function partRoot(bytes calldata content) external pure returns (bytes32) {
        return SegmentTree.imageRoot(content, 16);
    }

    /// @notice Of a part, without what its bytes cost as calldata.
    function test_addPart_gas() public {
        bytes memory content = randomBytes(PART, 1);
        parts.addPart(SALT, 0, content, false);
        vm.snapshotGasLastCall("game", "publish a part of an input, 65,536 bytes");
    }
}

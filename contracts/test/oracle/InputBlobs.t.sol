// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {BlobFixture} from "./helpers/BlobFixture.sol";
import {randomBytes} from "./helpers/RandomBytes.sol";
import {BURN_ADDRESS} from "../../src/dispute/Bond.sol";
import {Duration, Timestamp} from "../../src/dispute/Time.sol";
import {BlobTree} from "../../src/oracle/BlobTree.sol";
import {InputBlobs} from "../../src/oracle/InputBlobs.sol";
import {InputRoot} from "../../src/oracle/SectionRoot.sol";
import {BlobPublication, BlobStatus, IInputBlobs} from "../../src/oracle/interfaces/IInputBlobs.sol";

/// @notice A right publication in blobs cannot be refuted, a wrong one always can, and each bond goes where it belongs.
contract InputBlobsTest is BlobFixture {
    uint256 internal constant REWARD = BOND * 8 / 10;

    function ofLeaves(uint256 count) internal returns (bytes32 id) {
        build(randomBytes(32 * count, count));
        return publishAll();
    }

    /// @notice The row of a random image: mostly of two levels above the leaves, sometimes of three.
    function buildAny(uint256 seed) internal {
        build(randomBytes(32 * bound(seed, 1, seed % 8 == 0 ? 1_100 : 100), seed));
    }

    /// @notice For what does not look into the blobs.
    function eightBlobs() internal {
        leafCount = 30_000;
        inputRoot = InputRoot.wrap("some root");
    }

    function expectRefuted(bytes32 id) internal view {
        vm.assertTrue(blobs.publicationOf(id).status == BlobStatus.REFUTED);
        vm.assertEq(refuter.balance, REWARD);
        vm.assertEq(address(blobs).balance, 0);
    }

    function expectNothingWrong(bytes32 id, uint256 word) internal {
        bytes memory openings = openingsFor(word);
        commit(refuter, id, word, openings);
        bytes32[] memory hashes = allHashes();
        vm.expectRevert(abi.encodeWithSelector(IInputBlobs.NothingWrong.selector, word));
        vm.prank(refuter);
        blobs.refute(id, word, hashes, openings);
    }

    // ---------------------------------------------------------------- right and wrong

    function testFuzz_refute_noWordOfARightPublication(uint256 seed, uint256 word) public {
        buildAny(seed);
        bytes32 id = publishAll();
        expectNothingWrong(id, bound(word, leafCount, row.length / 32));
    }

    function testFuzz_refute_anyWrongByte(uint256 seed, uint256 at, uint8 by) public {
        buildAny(seed);
        at = bound(at, 0, row.length - 1);
        flip(at, bytes1(uint8(bound(by, 1, 255))));
        bytes32 id = publishAll();
        refute(id, parentOf(at / 32));
        expectRefuted(id);
    }

    /// @notice A word that is wrong above the leaves is so against those below it, too.
    function testFuzz_refute_anyWrongWordAgainstThoseBelow(uint256 seed, uint256 at, uint8 by) public {
        buildAny(seed);
        vm.assume(leafCount > 1);
        at = bound(at, 32 * uint256(leafCount), row.length - 1);
        flip(at, bytes1(uint8(bound(by, 1, 255))));
        bytes32 id = publishAll();
        refute(id, at / 32);
        expectRefuted(id);
    }

    function testFuzz_refute_anyFirstByte(uint256 seed, uint256 at, uint8 by) public {
        buildAny(seed);
        at = bound(at, 0, row.length / 32 - 1);
        firstByteOf[at * 32 / 31] = bytes1(uint8(bound(by, 1, 0x72)));
        bytes32 id = publishAll();
        refute(id, parentOf(at));
        expectRefuted(id);
    }

    function testFuzz_refute_anyOtherRoot(uint256 seed, uint8 bit) public {
        buildAny(seed);
        inputRoot = InputRoot.wrap(InputRoot.unwrap(inputRoot) ^ bytes32(1 << bit));
        bytes32 id = publishAll();
        refute(id, row.length / 32);
        expectRefuted(id);
    }

    /// @notice Of every size at which a level begins or a group is full, and across the border of two blobs.
    function test_refute_everyEdge() public {
        uint32[9] memory sizes = [uint32(1), 2, 31, 32, 33, 1_023, 1_024, 1_025, 3_950];
        for (uint256 i = 0; i < sizes.length; ++i) {
            this.expectRight(sizes[i]);
        }
    }

    /// @dev A call of its own, so that its memory is free afterwards.
    function expectRight(uint256 leaves) external {
        bytes32 id = ofLeaves(leaves);
        uint256 words = row.length / 32;
        vm.assertEq(words, BlobTree.wordsOf(leafCount));
        expectNothingWrong(id, leafCount);
        expectNothingWrong(id, words);
        if (words == leafCount) return;
        expectNothingWrong(id, words - 1);
        expectNothingWrong(id, parentOf(leaves)); // of 3,950 leaves: 32 words that lie in two blobs
    }

    /// @notice EIP-4844: an element stands at the root of unity to the power of its index, the bits of which are reversed.
    function testFuzz_pointOf(uint256 index) public view {
        index = bound(index, 0, 4095);
        uint256 exponent = 0;
        for (uint256 bit = 0; bit < 12; ++bit) {
            if (index & (1 << bit) != 0) exponent += 2048 >> bit;
        }
        uint256 modulus = BlobTree.MODULUS;
        (, bytes memory root) =
            address(0x05).staticcall(abi.encode(32, 32, 32, uint256(7), (modulus - 1) / 4096, modulus));
        (, bytes memory point) =
            address(0x05).staticcall(abi.encodePacked(uint256(32), uint256(32), uint256(32), root, exponent, modulus));
        vm.assertEq(BlobTree.pointOf(index), abi.decode(point, (uint256)));
    }

    function test_refute_wordsThatAreNone() public {
        bytes32 id = ofLeaves(100);
        bytes32[] memory hashes = allHashes();
        uint256[3] memory words = [leafCount - 1, row.length / 32 + 1, type(uint256).max];
        for (uint256 i = 0; i < words.length; ++i) {
            commit(refuter, id, words[i], "");
            vm.expectRevert(abi.encodeWithSelector(IInputBlobs.NoSuchWord.selector, words[i]));
            vm.prank(refuter);
            blobs.refute(id, words[i], hashes, "");
        }
    }

    function test_refute_otherOpenings() public {
        bytes32 id = ofLeaves(100);
        uint256 word = leafCount;
        bytes memory openings = openingsFor(word);
        bytes32[] memory hashes = allHashes();
        bytes memory cut = this.slice(openings, 0, openings.length - 1);
        commit(refuter, id, word, cut);
        vm.expectRevert(
            abi.encodeWithSelector(IInputBlobs.BadOpeningsLength.selector, openings.length - 1, openings.length)
        );
        vm.prank(refuter);
        blobs.refute(id, word, hashes, cut);
        // The value of the third element, its commitment, its proof.
        uint256[3] memory places = [uint256(2 * 128 + 31), 2 * 128 + 40, 2 * 128 + 90];
        for (uint256 i = 0; i < places.length; ++i) {
            bytes memory other = bytes.concat(openings);
            other[places[i]] ^= 0x01;
            commit(refuter, id, word, other);
            vm.expectRevert(abi.encodeWithSelector(IInputBlobs.BadOpening.selector, 2));
            vm.prank(refuter);
            blobs.refute(id, word, hashes, other);
        }
    }

    function test_refute_otherHashes() public {
        bytes32 id = ofLeaves(100);
        bytes memory openings = openingsFor(leafCount);
        commit(refuter, id, leafCount, openings);
        bytes32[] memory hashes = allHashes();
        hashes[0] ^= bytes32(uint256(1));
        vm.expectPartialRevert(IInputBlobs.OtherBlobs.selector);
        vm.prank(refuter);
        blobs.refute(id, leafCount, hashes, openings);
    }

    // ---------------------------------------------------------------- whose reward

    function test_refute_onlyAfterItsCommitment() public {
        (bytes32 id, uint256 word, bytes memory openings, bytes32[] memory hashes) = wrong();
        bytes32 commitment = blobs.commitmentOf(refuter, id, word, openings);
        vm.expectRevert(abi.encodeWithSelector(IInputBlobs.RefutationNotCommitted.selector, commitment));
        vm.prank(refuter);
        blobs.refute(id, word, hashes, openings);
        blobs.commitRefutation(commitment);
        vm.expectRevert(abi.encodeWithSelector(IInputBlobs.RefutationNotCommitted.selector, commitment));
        vm.prank(refuter);
        blobs.refute(id, word, hashes, openings);
        vm.roll(block.number + 1);
        blobs.commitRefutation(commitment); // by anyone, again: it stays as old as it is
        vm.prank(refuter);
        blobs.refute(id, word, hashes, openings);
        expectRefuted(id);
    }

    function test_refute_aCopyComesTooLate() public {
        (bytes32 id, uint256 word, bytes memory openings, bytes32[] memory hashes) = wrong();
        commit(refuter, id, word, openings);
        address copier = makeAddr("copier");
        vm.startPrank(copier);
        bytes32 commitment = blobs.commitmentOf(copier, id, word, openings);
        blobs.commitRefutation(commitment);
        vm.expectRevert(abi.encodeWithSelector(IInputBlobs.RefutationNotCommitted.selector, commitment));
        blobs.refute(id, word, hashes, openings);
        vm.stopPrank();
        vm.prank(refuter);
        blobs.refute(id, word, hashes, openings);
        expectRefuted(id);
    }

    function test_refute_onceAndForAll() public {
        (bytes32 id, uint256 word, bytes memory openings, bytes32[] memory hashes) = wrong();
        commit(refuter, id, word, openings);
        vm.expectEmit(address(blobs));
        emit IInputBlobs.PublicationRefuted(inputRoot, id, refuter, REWARD, BOND - REWARD);
        vm.startPrank(refuter);
        blobs.refute(id, word, hashes, openings);
        vm.assertEq(BURN_ADDRESS.balance, BOND - REWARD);
        vm.expectRevert(
            abi.encodeWithSelector(IInputBlobs.WrongBlobStatus.selector, BlobStatus.REFUTED, BlobStatus.PUBLISHED)
        );
        blobs.refute(id, word, hashes, openings);
        vm.stopPrank();
        vm.warp(block.timestamp + 30 days);
        vm.expectRevert(abi.encodeWithSelector(IInputBlobs.BondGone.selector, id));
        vm.prank(publisher);
        blobs.takeBond(id);
    }

    /// @notice Nothing is too little to be paid: of a bond of 2 wei, one is the refuter's and one is forfeited.
    function test_refute_sharesOfOneWei() public {
        blobs = new InputBlobs(2, Duration.wrap(WINDOW), 5_000, BURN_ADDRESS);
        build(randomBytes(3_200, 1));
        flip(0, 0x01);
        send(SALT, 0, blobs.blobsOf(leafCount), 2);
        refute(idOf(SALT), leafCount);
        vm.assertEq(refuter.balance, 1);
        vm.assertEq(BURN_ADDRESS.balance, 1);
    }

    function test_refute_afterTheBondIsGone() public {
        (bytes32 id, uint256 word,,) = wrong();
        vm.warp(block.timestamp + WINDOW + 1);
        vm.prank(publisher);
        blobs.takeBond(id);
        refute(id, word);
        vm.assertTrue(blobs.publicationOf(id).status == BlobStatus.REFUTED);
        vm.assertEq(refuter.balance, 0);
    }

    // ---------------------------------------------------------------- the bond

    function test_takeBond_afterTheWindow() public {
        bytes32 id = ofLeaves(50);
        uint64 until = uint64(block.timestamp + WINDOW);
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(IInputBlobs.WindowOpen.selector, until));
        vm.prank(publisher);
        blobs.takeBond(id);
        vm.warp(until + 1);
        vm.expectRevert(abi.encodeWithSelector(IInputBlobs.NotPublisher.selector, refuter, publisher));
        vm.prank(refuter);
        blobs.takeBond(id);
        vm.prank(publisher);
        blobs.takeBond(id);
        vm.assertEq(publisher.balance, BOND);
        vm.assertTrue(blobs.publicationOf(id).status == BlobStatus.PUBLISHED);
        vm.expectRevert(abi.encodeWithSelector(IInputBlobs.BondGone.selector, id));
        vm.prank(publisher);
        blobs.takeBond(id);
    }

    function test_takeBond_ofWhatWasNeverComplete() public {
        eightBlobs();
        send(SALT, 0, 6, BOND);
        bytes32 id = idOf(SALT);
        vm.prank(publisher);
        blobs.takeBond(id);
        vm.assertEq(publisher.balance, BOND);
        vm.assertTrue(blobs.publicationOf(id).status == BlobStatus.ABANDONED);
        vm.expectRevert(
            abi.encodeWithSelector(IInputBlobs.WrongBlobStatus.selector, BlobStatus.ABANDONED, BlobStatus.GROWING)
        );
        this.sendAgain(6, 2, 0);
        vm.expectRevert(
            abi.encodeWithSelector(IInputBlobs.WrongBlobStatus.selector, BlobStatus.ABANDONED, BlobStatus.NONE)
        );
        this.sendAgain(0, 6, BOND);
        vm.expectRevert(abi.encodeWithSelector(IInputBlobs.BondGone.selector, id));
        vm.prank(publisher);
        blobs.takeBond(id);
    }

    function sendAgain(uint256 first, uint256 count, uint256 value) external {
        send(SALT, first, count, value);
    }

    function test_publish_theBondComesFirst() public {
        eightBlobs();
        vm.expectRevert(abi.encodeWithSelector(IInputBlobs.WrongPublicationBond.selector, BOND - 1, BOND));
        this.sendAgain(0, 6, BOND - 1);
        vm.expectRevert(abi.encodeWithSelector(IInputBlobs.WrongPublicationBond.selector, BOND + 1, BOND));
        this.sendAgain(0, 6, BOND + 1);
        send(SALT, 0, 6, BOND);
        vm.expectRevert(abi.encodeWithSelector(IInputBlobs.WrongPublicationBond.selector, 1, 0));
        this.sendAgain(6, 2, 1);
    }

    // ---------------------------------------------------------------- publishing

    function test_publish_inSeveralTransactions() public {
        eightBlobs();
        vm.assertEq(blobs.blobsOf(leafCount), 8);
        vm.roll(100);
        vm.warp(1_000_000);
        send(SALT, 0, 6, BOND);
        vm.assertEq(blobs.publicationCount(inputRoot), 0);
        vm.roll(107);
        vm.warp(1_000_100);
        bytes32 id = idOf(SALT);
        vm.expectEmit(address(blobs));
        emit IInputBlobs.BlobsPublished(inputRoot, id, leafCount);
        send(SALT, 6, 2, 0);
        BlobPublication memory found = blobs.publicationOf(id);
        vm.assertTrue(found.status == BlobStatus.PUBLISHED && found.holdsBond);
        vm.assertEq(found.publisher, publisher);
        vm.assertEq(found.firstBlock, 100);
        vm.assertEq(found.lastBlock, 107);
        vm.assertEq(found.startedAt.raw(), 1_000_000);
        vm.assertEq(found.endedAt.raw(), 1_000_100);
        vm.assertEq(found.blobCount, 8);
        vm.assertEq(blobs.publications(inputRoot, 0, 10)[0], id);
    }

    function test_publish_sentTwiceOrOutOfOrder() public {
        eightBlobs();
        vm.expectPartialRevert(IInputBlobs.WrongBlobStatus.selector);
        this.sendAgain(6, 2, 0);
        send(SALT, 0, 6, BOND);
        vm.expectRevert(abi.encodeWithSelector(IInputBlobs.UnexpectedBlob.selector, 0, 6));
        this.sendAgain(0, 6, BOND);
        vm.expectRevert(abi.encodeWithSelector(IInputBlobs.UnexpectedBlob.selector, 7, 6));
        this.sendAgain(7, 1, 0);
        vm.expectRevert(abi.encodeWithSelector(IInputBlobs.TooManyBlobs.selector, 9, 8));
        this.sendAgain(6, 3, 0);
    }

    function test_publish_notForLongerThanADay() public {
        eightBlobs();
        send(SALT, 0, 6, BOND);
        bytes32 id = idOf(SALT);
        vm.warp(block.timestamp + 1 days + 1);
        vm.expectRevert(abi.encodeWithSelector(IInputBlobs.PublicationTooSlow.selector, id));
        this.sendAgain(6, 2, 0);
        vm.warp(block.timestamp - 1);
        send(SALT, 6, 2, 0);
    }

    function test_publish_sizes() public {
        leafCount = 0;
        vm.expectRevert(abi.encodeWithSelector(IInputBlobs.BadLeafCount.selector, 0));
        this.sendAgain(0, 1, BOND);
        leafCount = 3_936_254; // the most that 1,024 blobs hold
        vm.assertEq(blobs.blobsOf(leafCount), 1_024);
        send(SALT, 0, 1, BOND);
        ++leafCount;
        vm.expectRevert(abi.encodeWithSelector(IInputBlobs.BadLeafCount.selector, leafCount));
        this.sendAgain(0, 1, BOND);
        leafCount = 1;
        vm.expectRevert(IInputBlobs.NoBlobs.selector);
        this.sendAgain(0, 0, BOND);
    }

    /// @notice A wrong publication stands in no other's way, and all are found.
    function test_publications_allOfOneRoot() public {
        build(randomBytes(3_200, 1));
        bytes32[] memory ids = new bytes32[](3);
        for (uint256 i = 0; i < 3; ++i) {
            send(bytes32(i), 0, 1, BOND);
            ids[i] = idOf(bytes32(i));
        }
        flip(5, 0x10);
        refute(ids[0], leafCount);
        vm.assertEq(blobs.publicationCount(inputRoot), 3);
        vm.assertEq(abi.encode(blobs.publications(inputRoot, 0, 3)), abi.encode(ids));
        vm.assertEq(blobs.publications(inputRoot, 2, 5)[0], ids[2]);
        vm.assertEq(blobs.publications(inputRoot, 2, type(uint256).max).length, 1);
        vm.assertEq(blobs.publications(inputRoot, 3, 5).length, 0);
    }

    function test_constructor_terms() public {
        vm.expectRevert(IInputBlobs.InvalidPublicationTerms.selector);
        new InputBlobs(1, Duration.wrap(0), 0, BURN_ADDRESS);
        vm.expectRevert(IInputBlobs.InvalidPublicationTerms.selector);
        new InputBlobs(1, Duration.wrap(14 days + 1), 0, BURN_ADDRESS);
        vm.expectRevert(IInputBlobs.InvalidPublicationTerms.selector);
        new InputBlobs(1, Duration.wrap(1), 5_001, BURN_ADDRESS);
        vm.expectRevert(IInputBlobs.InvalidPublicationTerms.selector);
        new InputBlobs(1, Duration.wrap(1), 0, address(0));
    }

    // ---------------------------------------------------------------- the precompile itself

    /// @notice A blob of zeros is opened by the point at infinity: no word above zero leaves is right.
    function test_refute_gasOfTheMost() public {
        vm.clearMockedCalls();
        bytes memory infinity = new bytes(48);
        infinity[0] = 0xc0;
        leafCount = 18_816; // 602,112 bytes
        bytes32 hash = (sha256(infinity) & bytes32(type(uint256).max >> 8)) | bytes32(uint256(1) << 248);
        bytes32[] memory hashes = new bytes32[](blobs.blobsOf(leafCount));
        for (uint256 i = 0; i < hashes.length; ++i) {
            hashes[i] = hash;
        }
        vm.blobhashes(hashes);
        vm.deal(publisher, BOND);
        vm.prank(publisher);
        blobs.publish{value: BOND}(SALT, 0, inputRoot, leafCount);
        vm.snapshotGasLastCall("game", "publish an input of 602,112 bytes, 5 blobs");

        uint256 word = leafCount + 15;
        bytes memory openings;
        for (uint256 i = 0; i < 36; ++i) {
            openings = bytes.concat(openings, bytes32(0), infinity, infinity);
        }
        bytes32 id = idOf(SALT);
        vm.prank(refuter);
        blobs.commitRefutation(blobs.commitmentOf(refuter, id, word, openings));
        vm.snapshotGasLastCall("game", "commit to a refutation of blobs");
        vm.roll(block.number + 1);
        vm.prank(refuter);
        blobs.refute(id, word, hashes, openings);
        vm.snapshotGasLastCall("game", "refute a publication in blobs, 36 openings");
        expectRefuted(id);
    }

    function test_refute_thePrecompileRefusesOtherOpenings() public {
        bytes32 id = ofLeaves(40);
        bytes memory openings = openingsFor(leafCount);
        vm.clearMockedCalls();
        commit(refuter, id, leafCount, openings);
        bytes32[] memory hashes = allHashes();
        vm.expectRevert(abi.encodeWithSelector(IInputBlobs.BadOpening.selector, 0));
        vm.prank(refuter);
        blobs.refute{gas: 5_000_000}(id, leafCount, hashes, openings);
    }
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {SafeTransferLib} from "solady/utils/SafeTransferLib.sol";
import {ALL_BPS, MAX_FORFEITED_BPS} from "../dispute/Bond.sol";
import {Duration, Timestamp, currentTimestamp} from "../dispute/Time.sol";
import {BlobTree} from "./BlobTree.sol";
import {InputRoot} from "./SectionRoot.sol";
import {SegmentTree} from "./SegmentTree.sol";
import {BlobPublication, BlobStatus, IInputBlobs} from "./interfaces/IInputBlobs.sol";

/// @title InputBlobs
/// @notice See IInputBlobs.
/// @dev Source: docs/game.md, "Inputs in blobs".
contract InputBlobs is IInputBlobs {
    uint256 public constant MAX_BLOBS = 1024;
    uint256 public constant OPENING_BYTES = 128;
    Duration public constant MAX_SPAN = Duration.wrap(1 days);

    /// @dev Nodes keep blobs for 4096 epochs, 18 days: until the window ends, and some days more.
    uint64 internal constant MAX_WINDOW = 14 days;
    address internal constant POINT_EVALUATION = address(0x0a);

    uint256 public immutable BOND;
    Duration public immutable WINDOW;
    uint256 public immutable FORFEITED_BPS;
    address public immutable FORFEITED_TO;

    mapping(bytes32 publicationId => BlobPublication) internal publicationById;
    mapping(InputRoot inputRoot => bytes32[]) internal idsOf;
    mapping(bytes32 commitment => uint256 blockNumber) public committedAt;

    constructor(uint256 bond, Duration window, uint256 forfeitedBps, address forfeitedTo) {
        bool isWindow = window.raw() >= 1 && window.raw() <= MAX_WINDOW;
        if (!isWindow || forfeitedBps > MAX_FORFEITED_BPS || forfeitedTo == address(0)) {
            revert InvalidPublicationTerms();
        }
        BOND = bond;
        WINDOW = window;
        FORFEITED_BPS = forfeitedBps;
        FORFEITED_TO = forfeitedTo;
    }

    // ---------------------------------------------------------------- publishing

    function publish(bytes32 salt, uint256 index, InputRoot inputRoot, uint32 leafCount) external payable {
        bytes32 publicationId = publicationIdOf(msg.sender, salt, inputRoot, leafCount);
        BlobPublication storage publication = publicationById[publicationId];
        if (index == 0) {
            _start(publication, inputRoot, leafCount);
        } else if (msg.value != 0) {
            revert WrongPublicationBond(msg.value, 0);
        }
        if (publication.status != BlobStatus.GROWING) {
            revert WrongBlobStatus(publication.status, BlobStatus.GROWING);
        }
        if (index != publication.blobCount) revert UnexpectedBlob(index, publication.blobCount);
        if (MAX_SPAN < _since(publication.startedAt)) revert PublicationTooSlow(publicationId);

        bytes32[] memory hashes = _blobHashes();
        uint256 count = index + hashes.length;
        uint256 needed = BlobTree.blobsOf(leafCount);
        if (count > needed) revert TooManyBlobs(count, needed);
        publication.blobCount = uint32(count); // <= MAX_BLOBS
        publication.digest = _digest(publication.digest, hashes);
        emit BlobsAdded(publicationId, msg.sender, index, hashes);
        if (count < needed) return;

        publication.status = BlobStatus.PUBLISHED;
        publication.lastBlock = uint64(block.number);
        publication.endedAt = currentTimestamp();
        idsOf[inputRoot].push(publicationId);
        emit BlobsPublished(inputRoot, publicationId, leafCount);
    }

    function _start(BlobPublication storage publication, InputRoot inputRoot, uint32 leafCount) internal {
        if (publication.status != BlobStatus.NONE) {
            if (publication.status == BlobStatus.GROWING) revert UnexpectedBlob(0, publication.blobCount);
            revert WrongBlobStatus(publication.status, BlobStatus.NONE);
        }
        if (leafCount == 0 || BlobTree.blobsOf(leafCount) > MAX_BLOBS) revert BadLeafCount(leafCount);
        if (msg.value != BOND) revert WrongPublicationBond(msg.value, BOND);
        publication.publisher = msg.sender;
        publication.leafCount = leafCount;
        publication.status = BlobStatus.GROWING;
        publication.holdsBond = true;
        publication.firstBlock = uint64(block.number);
        publication.startedAt = currentTimestamp();
        publication.inputRoot = inputRoot;
    }

    function takeBond(bytes32 publicationId) external {
        BlobPublication storage publication = publicationById[publicationId];
        if (msg.sender != publication.publisher) revert NotPublisher(msg.sender, publication.publisher);
        if (publication.status == BlobStatus.GROWING) {
            publication.status = BlobStatus.ABANDONED;
        } else {
            if (!publication.holdsBond) revert BondGone(publicationId);
            Timestamp until = publication.endedAt.plus(WINDOW);
            if (block.timestamp <= until.raw()) revert WindowOpen(until);
        }
        // Before money moves, so that calling back gains nothing.
        publication.holdsBond = false;
        emit PublicationBondReturned(publicationId, msg.sender, BOND);
        SafeTransferLib.forceSafeTransferETH(msg.sender, BOND);
    }

    // ---------------------------------------------------------------- refuting

    function commitRefutation(bytes32 commitment) external {
        // The first time counts, so that no account can make another's commitment younger.
        if (committedAt[commitment] != 0) return;
        committedAt[commitment] = block.number;
        emit RefutationCommitted(commitment);
    }

    function refute(bytes32 publicationId, uint256 word, bytes32[] calldata hashes, bytes calldata openings) external {
        BlobPublication storage publication = publicationById[publicationId];
        if (publication.status != BlobStatus.PUBLISHED) {
            revert WrongBlobStatus(publication.status, BlobStatus.PUBLISHED);
        }
        bytes32 commitment = commitmentOf(msg.sender, publicationId, word, openings);
        uint256 since = committedAt[commitment];
        if (since == 0 || since >= block.number) revert RefutationNotCommitted(commitment);
        bytes32 digest = _digest(0, hashes);
        if (digest != publication.digest) revert OtherBlobs(digest, publication.digest);
        if (!_isWrong(publication, word, hashes, openings)) revert NothingWrong(word);

        (uint256 reward, uint256 forfeited) = (0, 0);
        if (publication.holdsBond) {
            forfeited = BOND * FORFEITED_BPS / ALL_BPS;
            reward = BOND - forfeited;
        }
        // Before money moves, so that calling back gains nothing.
        publication.status = BlobStatus.REFUTED;
        publication.holdsBond = false;
        emit PublicationRefuted(publication.inputRoot, publicationId, msg.sender, reward, forfeited);
        if (reward != 0) SafeTransferLib.forceSafeTransferETH(msg.sender, reward);
        if (forfeited != 0) SafeTransferLib.forceSafeTransferETH(FORFEITED_TO, forfeited);
    }

    /// @dev Whether a word of the row is not the root over its neighbours, or an element is out of form.
    function _isWrong(
        BlobPublication storage publication,
        uint256 word,
        bytes32[] memory hashes,
        bytes calldata openings
    ) internal view returns (bool) {
        (bool found, BlobTree.Group memory group) = BlobTree.groupUnder(word, publication.leafCount);
        if (!found) revert NoSuchWord(word);
        uint256 below = _elementsOf(group.first, group.count) * OPENING_BYTES;
        uint256 expected = below + (group.isTop ? 0 : _elementsOf(word, 1) * OPENING_BYTES);
        if (openings.length != expected) revert BadOpeningsLength(openings.length, expected);

        (bool isForm, uint256 at) = _open(group.first, hashes, openings[:below]);
        if (!isForm) return true;
        if (group.isTop) return BlobTree.rootOver(at, group) != InputRoot.unwrap(publication.inputRoot);
        uint256 atRoot;
        (isForm, atRoot) = _open(word, hashes, openings[below:]);
        return !isForm || BlobTree.rootOver(at, group) != _load(atRoot);
    }

    function _load(uint256 at) internal pure returns (bytes32 word) {
        assembly ("memory-safe") {
            word := mload(at)
        }
    }

    /// @dev How many elements hold a part of these words.
    function _elementsOf(uint256 word, uint256 count) internal pure returns (uint256) {
        uint256 from = word * BlobTree.WORD_BYTES;
        uint256 last = from + count * BlobTree.WORD_BYTES - 1;
        return last / BlobTree.ELEMENT_BYTES - from / BlobTree.ELEMENT_BYTES + 1;
    }

    /// @dev Opens the elements from the one where a word begins.
    /// @return isForm Whether all of them begin with a zero.
    /// @return at If so, the memory address of the word; at least 64 bytes after those of the elements are free to use.
    function _open(uint256 word, bytes32[] memory hashes, bytes calldata openings)
        internal
        view
        returns (bool isForm, uint256 at)
    {
        uint256 element = word * BlobTree.WORD_BYTES / BlobTree.ELEMENT_BYTES;
        uint256 count = openings.length / OPENING_BYTES;
        // Each element's 31 bytes are written with a zero behind them, which the next overwrites.
        bytes memory row = new bytes(count * BlobTree.ELEMENT_BYTES + 64);
        isForm = true;
        for (uint256 i = 0; i < count; ++i) {
            uint256 value = _opened(element + i, hashes, openings[i * OPENING_BYTES:(i + 1) * OPENING_BYTES]);
            if (value >> (8 * BlobTree.ELEMENT_BYTES) != 0) isForm = false;
            uint256 offset = 32 + i * BlobTree.ELEMENT_BYTES;
            assembly ("memory-safe") {
                mstore(add(row, offset), shl(8, value))
            }
        }
        uint256 skipped = word * BlobTree.WORD_BYTES - element * BlobTree.ELEMENT_BYTES;
        assembly ("memory-safe") {
            at := add(add(row, 32), skipped)
        }
    }

    /// @dev The element of this number in the row, if the opening proves it.
    function _opened(uint256 element, bytes32[] memory hashes, bytes calldata opening)
        internal
        view
        returns (uint256 value)
    {
        // INVARIANT: the element lies in the row, whose blobs are all in `hashes`, so this index is below its length.
        bytes32 hash = hashes[element / BlobTree.ELEMENTS_PER_BLOB];
        uint256 point = BlobTree.pointOf(element % BlobTree.ELEMENTS_PER_BLOB);
        // The precompile refuses, beside a wrong proof, a commitment of another hash and a value beyond the modulus. What it
        // answers is looked at, since a call to an address without code succeeds on a chain that has no such precompile.
        (bool isRight, bytes memory answer) = POINT_EVALUATION.staticcall(abi.encodePacked(hash, point, opening));
        if (!isRight || answer.length != 64) revert BadOpening(element);
        return uint256(bytes32(opening[:32]));
    }

    // ---------------------------------------------------------------- blobs

    /// @dev The versioned hashes of the transaction's blobs.
    function _blobHashes() internal view returns (bytes32[] memory hashes) {
        uint256 count = 0;
        while (blobhash(count) != 0) ++count;
        if (count == 0) revert NoBlobs();
        hashes = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) {
            hashes[i] = blobhash(i);
        }
    }

    function _digest(bytes32 digest, bytes32[] memory hashes) internal pure returns (bytes32) {
        for (uint256 i = 0; i < hashes.length; ++i) {
            digest = SegmentTree.hashPair(digest, hashes[i]);
        }
        return digest;
    }

    function _since(Timestamp moment) internal view returns (Duration) {
        return Duration.wrap(currentTimestamp().raw() - moment.raw());
    }

    // ---------------------------------------------------------------- looking up

    function blobsOf(uint32 leafCount) external pure returns (uint256) {
        return BlobTree.blobsOf(leafCount);
    }

    function publicationIdOf(address publisher, bytes32 salt, InputRoot inputRoot, uint32 leafCount)
        public
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(publisher, salt, inputRoot, leafCount));
    }

    function commitmentOf(address refuter, bytes32 publicationId, uint256 word, bytes calldata openings)
        public
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(refuter, publicationId, word, keccak256(openings)));
    }

    function publicationOf(bytes32 publicationId) external view returns (BlobPublication memory) {
        return publicationById[publicationId];
    }

    function publicationCount(InputRoot inputRoot) external view returns (uint256) {
        return idsOf[inputRoot].length;
    }

    function publications(InputRoot inputRoot, uint256 first, uint256 most)
        external
        view
        returns (bytes32[] memory found)
    {
        bytes32[] storage ids = idsOf[inputRoot];
        uint256 left = first < ids.length ? ids.length - first : 0;
        found = new bytes32[](left < most ? left : most);
        for (uint256 i = 0; i < found.length; ++i) {
            found[i] = ids[first + i];
        }
    }
}

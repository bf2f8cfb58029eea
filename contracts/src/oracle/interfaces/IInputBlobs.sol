// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Duration, Timestamp} from "../../dispute/Time.sol";
import {InputRoot} from "../SectionRoot.sol";

/// @notice How far a publication is.
enum BlobStatus {
    /// @notice There is none with this id.
    NONE,
    /// @notice Blobs are missing.
    GROWING,
    /// @notice All blobs were there, and nothing is known against them.
    PUBLISHED,
    /// @notice The blobs do not hold the image of the input root. It is void.
    REFUTED,
    /// @notice Its publisher took the bond back before all blobs were there.
    ABANDONED
}

/// @notice Blobs that are said to hold the image behind an input root.
struct BlobPublication {
    address publisher;
    /// @notice Leaves of the image, 32 bytes each; zeros follow up to the end of the section.
    uint32 leafCount;
    /// @notice Blobs so far.
    uint32 blobCount;
    BlobStatus status;
    /// @notice Whether the publisher's bond is still here.
    bool holdsBond;
    /// @notice The blobs are in transactions from this block on,
    uint64 firstBlock;
    /// @notice to this one.
    uint64 lastBlock;
    /// @notice The time of the first of them.
    Timestamp startedAt;
    /// @notice The time of the last of them.
    Timestamp endedAt;
    /// @notice Commits to the blobs so far: keccak256(digest before ++ versioned hash), starting from zero.
    bytes32 digest;
    InputRoot inputRoot;
}

/// @title Inputs published in blobs
/// @notice A blob transaction carries an input's image at a small part of the price of calldata, but the chain sees no byte of
///         it. So a publisher says which root the image has, and puts up a bond. The blobs hold the image and its inner nodes
///         in steps of five levels (BlobTree); whatever is wrong is then wrong between 32 neighbours and the word above them,
///         and is shown here by opening at most 36 field elements with the point-evaluation precompile (EIP-4844). The bond
///         goes to the refuter, less the forfeited part. A publication that is right cannot be refuted.
/// @dev Source: docs/game.md, "Inputs in blobs". No owner. No game and no request depends on it: without it a root is still a
///      root, whose image has to be found elsewhere.
interface IInputBlobs {
    // ---------------------------------------------------------------- events

    /// @notice A transaction added its blobs.
    /// @param index How many blobs the publication had before.
    event BlobsAdded(bytes32 indexed publicationId, address indexed publisher, uint256 index, bytes32[] hashes);
    /// @notice All blobs were there.
    event BlobsPublished(InputRoot indexed inputRoot, bytes32 indexed publicationId, uint32 leafCount);
    event RefutationCommitted(bytes32 indexed commitment);
    /// @notice The publication is void. Reward and forfeited part are zero if its bond had been taken back.
    event PublicationRefuted(
        InputRoot indexed inputRoot, bytes32 indexed publicationId, address refuter, uint256 reward, uint256 forfeited
    );
    event PublicationBondReturned(bytes32 indexed publicationId, address publisher, uint256 amount);

    // ---------------------------------------------------------------- errors

    /// @notice The bond, the window or the forfeited part is out of range.
    error InvalidPublicationTerms();
    /// @notice The transaction carries no blob.
    error NoBlobs();
    /// @notice An image has at least one leaf, and at most what MAX_BLOBS hold.
    error BadLeafCount(uint256 found);
    /// @notice The next blob of the publication has another index: earlier ones are missing, or these are there already.
    error UnexpectedBlob(uint256 found, uint256 expected);
    /// @notice With this transaction's, the publication would have more blobs than its image takes.
    error TooManyBlobs(uint256 found, uint256 expected);
    /// @notice The first transaction of a publication brings the bond, the others nothing.
    error WrongPublicationBond(uint256 found, uint256 expected);
    /// @notice The publication is in another state than this needs.
    error WrongBlobStatus(BlobStatus found, BlobStatus expected);
    /// @notice The first blobs are older than MAX_SPAN, and might be gone before the window is over.
    error PublicationTooSlow(bytes32 publicationId);
    /// @notice The caller did not publish it.
    error NotPublisher(address found, address expected);
    /// @notice The window ends then.
    error WindowOpen(Timestamp until);
    /// @notice The bond was taken back before.
    error BondGone(bytes32 publicationId);
    /// @notice No such commitment was made in an earlier block.
    error RefutationNotCommitted(bytes32 commitment);
    /// @notice There is no such word above the image's leaves.
    error NoSuchWord(uint256 word);
    /// @notice These are not the versioned hashes of the publication's blobs.
    error OtherBlobs(bytes32 found, bytes32 expected);
    /// @notice Another number of bytes than OPENING_BYTES for each element.
    error BadOpeningsLength(uint256 found, uint256 expected);
    /// @notice The element of this number in the row is not what the opening says.
    error BadOpening(uint256 element);
    /// @notice The word is right, and so are the first bytes of the elements.
    error NothingWrong(uint256 word);

    // ---------------------------------------------------------------- publishing

    /// @notice Adds this transaction's blobs, all of them, to a publication of the caller; starts it if the index is 0.
    /// @param salt Chosen by the caller; tells its publications of one image apart.
    /// @param index How many blobs the publication has: a transaction that is sent twice does nothing the second time.
    /// @param leafCount Leaves of the image, 32 bytes each.
    function publish(bytes32 salt, uint256 index, InputRoot inputRoot, uint32 leafCount) external payable;

    /// @notice Pays the bond back to the publisher, who alone may call: after the window, or at once if blobs are missing,
    ///         which ends the publication.
    function takeBond(bytes32 publicationId) external;

    // ---------------------------------------------------------------- refuting

    /// @notice Announces a refutation in an earlier block, without saying what it is, so that its copy comes too late.
    /// @param commitment `commitmentOf` the refutation that will follow.
    function commitRefutation(bytes32 commitment) external;

    /// @notice Voids a publication whose blobs do not hold what they should, and pays the bond to the caller.
    /// @param word A word of the row above the leaves that is not the root over its 32 neighbours below; the place after the
    ///        last word if that one does not lead to the input root. Or any word one of whose elements, or of its neighbours'
    ///        below, has another first byte than zero.
    /// @param hashes The versioned hashes of all blobs of the publication.
    /// @param openings OPENING_BYTES for each element that holds a part of those neighbours, in order, and then for each that
    ///        holds a part of the word itself: the element, the commitment of its blob, and the proof.
    function refute(bytes32 publicationId, uint256 word, bytes32[] calldata hashes, bytes calldata openings) external;

    // ---------------------------------------------------------------- looking up

    /// @notice What a publication costs until it is over.
    function BOND() external view returns (uint256);
    /// @notice How long a publisher waits for its bond after the last blob.
    function WINDOW() external view returns (Duration);
    /// @notice The part of a lost bond, in ten-thousandths, that the refuter does not get.
    function FORFEITED_BPS() external view returns (uint256);
    /// @notice The recipient of that part.
    function FORFEITED_TO() external view returns (address);
    /// @notice The most time between a publication's first and last blob.
    function MAX_SPAN() external view returns (Duration);
    /// @notice The most blobs of a publication.
    function MAX_BLOBS() external view returns (uint256);
    /// @notice 32 of the element, 48 of the commitment, 48 of the proof.
    function OPENING_BYTES() external view returns (uint256);
    /// @notice Blobs that an image with this many leaves takes.
    function blobsOf(uint32 leafCount) external pure returns (uint256);
    /// @notice keccak256(abi.encode(publisher, salt, inputRoot, leafCount)).
    function publicationIdOf(address publisher, bytes32 salt, InputRoot inputRoot, uint32 leafCount)
        external
        pure
        returns (bytes32);
    /// @notice keccak256(abi.encode(refuter, publicationId, word, keccak256(openings))).
    function commitmentOf(address refuter, bytes32 publicationId, uint256 word, bytes calldata openings)
        external
        pure
        returns (bytes32);
    /// @notice The block of a commitment; 0 if there is none.
    function committedAt(bytes32 commitment) external view returns (uint256 blockNumber);
    function publicationOf(bytes32 publicationId) external view returns (BlobPublication memory);
    /// @notice How many publications of this root had all their blobs, refuted ones included.
    function publicationCount(InputRoot inputRoot) external view returns (uint256);
    /// @notice The ids of those from the `first` on, at most `most`, oldest first.
    function publications(InputRoot inputRoot, uint256 first, uint256 most) external view returns (bytes32[] memory);
}

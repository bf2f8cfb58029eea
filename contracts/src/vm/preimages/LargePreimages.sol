// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {KECCAK256_KEY, PreimageKey, preimageKey} from "../PreimageKey.sol";
import {KeccakSponge, StateMatrix} from "./KeccakSponge.sol";
import {
    ActiveProposal,
    AlreadyFinalized,
    AlreadyInitialized,
    BadProposal,
    BondTransferFailed,
    InsufficientBond,
    InvalidInputSize,
    InvalidPreimage,
    InvalidProof,
    NotEOA,
    NotInitialized,
    PartOffsetOOB,
    PostStateMatches,
    StatesNotContiguous,
    TreeSizeOverflow,
    WrongStartingBlock
} from "./PreimageErrors.sol";
import {PreimageParts} from "./PreimageParts.sol";
import {ProposalMetadata, ProposalMetadataFields} from "./ProposalMetadata.sol";

/// @title LargePreimages
/// @notice Loads a part of a Keccak-256 pre-image that is too large for one transaction, by a proposal that can be challenged.
///
/// The proposer sends the pre-image in pieces (`addLeavesLPP`), and with every block of 136 bytes a commitment to the
/// sponge's state behind it, which is not computed on chain then. Blocks and commitments become leaves of a Merkle
/// tree. For `challengePeriod` seconds after the last piece, anyone may show one block whose commitment does not follow
/// from the one before (`challengeLPP`), and gets the proposer's bond. After that `squeezeLPP` computes the last block
/// and the digest, stores the part, and returns the bond.
/// @dev Functions, checks and their order are the OP Stack's: op-challenger proposes, challenges and squeezes here. A part's
/// bytes behind the pre-image's end are zeros, where the OP Stack's contract stores what stands in the calldata there.
abstract contract LargePreimages is PreimageParts {
    using KeccakSponge for StateMatrix;

    /// @notice One block of a pre-image, as a leaf of the proposal's tree.
    /// @dev `input` is the block's 136 bytes, `stateCommitment` the hash of the sponge's state behind it.
    struct Leaf {
        bytes input;
        uint256 index;
        bytes32 stateCommitment;
    }

    /// @notice What names a proposal.
    struct ProposalKey {
        address claimant;
        uint256 uuid;
    }

    uint256 public constant MIN_BOND_SIZE = 0.25 ether;
    uint256 public constant KECCAK_TREE_DEPTH = 16;

    /// @notice The tree's last leaf stays empty, or its root would not tell how many leaves there are.
    uint256 public constant MAX_LEAF_COUNT = 2 ** KECCAK_TREE_DEPTH - 1;

    /// @notice The size in bytes from which a pre-image can be proposed.
    uint256 public immutable minProposalSize;

    /// @notice For how many seconds a proposal can be challenged; a game's clock extends by it before a step.
    uint256 public immutable challengePeriod;

    /// @notice All proposals there ever were, oldest first.
    ProposalKey[] public proposals;

    /// @notice The roots of the tree's full subtrees, from which it grows; only those of its size's set bits mean anything.
    mapping(address claimant => mapping(uint256 uuid => bytes32[KECCAK_TREE_DEPTH])) public proposalBranches;

    /// @notice How far a proposal is.
    mapping(address claimant => mapping(uint256 uuid => ProposalMetadata)) public proposalMetadata;

    /// @notice What lies in a proposal, in wei.
    mapping(address claimant => mapping(uint256 uuid => uint256)) public proposalBonds;

    /// @notice The part that a proposal is for, once it was in its input.
    mapping(address claimant => mapping(uint256 uuid => bytes32)) public proposalParts;

    /// @notice The numbers of the blocks that hold a proposal's input.
    mapping(address claimant => mapping(uint256 uuid => uint64[])) public proposalBlocks;

    constructor(uint256 minProposalSize_, uint256 challengePeriod_) {
        // Clocks are extended by it.
        require(challengePeriod_ <= type(uint64).max, "PreimageOracle: challenge period too large");
        minProposalSize = minProposalSize_;
        challengePeriod = challengePeriod_;
    }

    /// @notice How many proposals there are.
    function proposalCount() external view returns (uint256) {
        return proposals.length;
    }

    /// @notice How many blocks hold a proposal's input.
    function proposalBlocksLen(address claimant, uint256 uuid) external view returns (uint256) {
        return proposalBlocks[claimant][uuid].length;
    }

    /// @notice The root of an empty tree of 2^height leaves.
    function zeroHashes(uint256 height) external pure returns (bytes32 root) {
        require(height < KECCAK_TREE_DEPTH);
        for (uint256 i = 0; i < height; ++i) {
            root = _hashPair(root, root);
        }
    }

    /// @notice Opens a proposal of the sender's for the part at `partOffset` of a pre-image of `claimedSize` bytes, with a bond.
    function initLPP(uint256 uuid, uint32 partOffset, uint32 claimedSize) external payable {
        if (msg.value < MIN_BOND_SIZE) revert InsufficientBond();
        if (msg.sender != tx.origin) revert NotEOA();
        if (partOffset >= claimedSize + 8) revert PartOffsetOOB();
        if (claimedSize < minProposalSize) revert InvalidInputSize();
        // A size of 0 is none: such a proposal could be opened again, and its bond lost.
        if (proposalMetadata[msg.sender][uuid].claimedSize() != 0) revert AlreadyInitialized();
        proposalMetadata[msg.sender][uuid] = ProposalMetadataFields.opened(partOffset, claimedSize);
        proposals.push(ProposalKey(msg.sender, uuid));
        proposalBonds[msg.sender][uuid] = msg.value;
    }

    /// @notice Adds blocks to a proposal of the sender's.
    /// @param inputStartBlock How many blocks it has already.
    /// @param input The next bytes of the pre-image: whole blocks, and with `finalize` all that is left.
    /// @param stateCommitments For each block, the hash of the sponge's state behind it.
    /// @param finalize Whether this is the end: then the input is padded, and the time to challenge begins.
    /// @dev Logs the sender and the calldata, without a topic: challengers read the input there.
    function addLeavesLPP(
        uint256 uuid,
        uint256 inputStartBlock,
        bytes calldata input,
        bytes32[] calldata stateCommitments,
        bool finalize
    ) external {
        ProposalMetadata metadata = proposalMetadata[msg.sender][uuid];
        if (msg.sender != tx.origin) revert NotEOA();
        if (metadata.claimedSize() == 0) revert NotInitialized();
        if (metadata.timestamp() != 0) revert AlreadyFinalized();
        if (metadata.blocksProcessed() != inputStartBlock) revert WrongStartingBlock();
        _keepPart(uuid, metadata, input, finalize);

        uint256 blocks = _grow(uuid, inputStartBlock, finalize ? KeccakSponge.pad(input) : input, stateCommitments);
        if (blocks > MAX_LEAF_COUNT) revert TreeSizeOverflow();
        // ASSUMES: so many blocks have fewer than 2^32 bytes.
        metadata = metadata.withProgress(uint32(blocks), uint32(metadata.bytesProcessed() + input.length));
        if (finalize) {
            metadata = metadata.withTimestamp(uint64(block.timestamp));
            if (metadata.bytesProcessed() != metadata.claimedSize()) revert InvalidInputSize();
        }
        proposalBlocks[msg.sender][uuid].push(uint64(block.number));
        proposalMetadata[msg.sender][uuid] = metadata;
        bytes memory logged = bytes.concat(bytes20(msg.sender), msg.data);
        assembly ("memory-safe") {
            log0(add(logged, 32), mload(logged))
        }
    }

    /// @notice Shows that a block's commitment does not follow from the one before, for the proposal's bond.
    /// @param stateMatrix The sponge's state behind `preState`.
    /// @param preStateProof The siblings of the leaf `preState`, lowest first; `postStateProof` likewise.
    function challengeLPP(
        address claimant,
        uint256 uuid,
        StateMatrix memory stateMatrix,
        Leaf calldata preState,
        bytes32[] calldata preStateProof,
        Leaf calldata postState,
        bytes32[] calldata postStateProof
    ) external {
        _requirePair(claimant, uuid, stateMatrix, preState, preStateProof, postState, postStateProof);
        if (preState.index + 1 != postState.index) revert StatesNotContiguous();
        _counter(claimant, uuid, stateMatrix, postState);
    }

    /// @notice Shows that the first block's commitment is wrong, for the proposal's bond.
    function challengeFirstLPP(
        address claimant,
        uint256 uuid,
        Leaf calldata postState,
        bytes32[] calldata postStateProof
    ) external {
        _requireLeaf(getTreeRootLPP(claimant, uuid), postState, postStateProof);
        if (postState.index != 0) revert StatesNotContiguous();
        StateMatrix memory empty;
        _counter(claimant, uuid, empty, postState);
    }

    /// @notice Stores the part of a proposal that was not challenged in time, and returns its bond. Anyone may call it.
    /// @param stateMatrix The sponge's state behind the last leaf but one, `preState`.
    function squeezeLPP(
        address claimant,
        uint256 uuid,
        StateMatrix memory stateMatrix,
        Leaf calldata preState,
        bytes32[] calldata preStateProof,
        Leaf calldata postState,
        bytes32[] calldata postStateProof
    ) external {
        ProposalMetadata metadata = proposalMetadata[claimant][uuid];
        if (metadata.countered()) revert BadProposal();
        if (metadata.timestamp() == 0) revert ActiveProposal();
        if (block.timestamp - metadata.timestamp() <= challengePeriod) revert ActiveProposal();
        _requirePair(claimant, uuid, stateMatrix, preState, preStateProof, postState, postStateProof);
        if (preState.index + 1 != postState.index || postState.index != metadata.blocksProcessed() - 1) {
            revert StatesNotContiguous();
        }
        // The last commitment is not read: the state after the block is the digest.
        stateMatrix.absorb(postState.input);
        _settle(claimant, uuid, preimageKey(stateMatrix.digest(), KECCAK256_KEY));
    }

    /// @notice The root of a proposal's tree as it stands.
    function getTreeRootLPP(address claimant, uint256 uuid) public view returns (bytes32 root) {
        uint256 size = proposalMetadata[claimant][uuid].blocksProcessed();
        bytes32[KECCAK_TREE_DEPTH] storage branch = proposalBranches[claimant][uuid];
        bytes32 zero = 0;
        for (uint256 height = 0; height < KECCAK_TREE_DEPTH; ++height) {
            root = size & 1 == 1 ? _hashPair(branch[height], root) : _hashPair(root, zero);
            zero = _hashPair(zero, zero);
            size >>= 1;
        }
    }

    /// @dev Keeps the part that the proposal is for, if it begins in this input.
    function _keepPart(uint256 uuid, ProposalMetadata metadata, bytes calldata input, bool finalize) private {
        uint256 offset = metadata.partOffset();
        uint256 before = metadata.bytesProcessed();
        if (offset < 8) {
            if (before == 0) proposalParts[msg.sender][uuid] = _partOf(metadata.claimedSize(), input, offset);
            return;
        }
        uint256 start = offset - 8;
        if (start < before || start >= before + input.length) return;
        // No part is kept in pieces.
        if (start - before + 32 >= input.length && !finalize) revert PartOffsetOOB();
        proposalParts[msg.sender][uuid] = _wordAt(input, start - before);
    }

    /// @dev Adds the leaves of `input` to the tree of `size` leaves; answers how many it has then.
    function _grow(uint256 uuid, uint256 size, bytes memory input, bytes32[] calldata stateCommitments)
        private
        returns (uint256)
    {
        uint256 blockBytes = KeccakSponge.BLOCK_BYTES;
        if (input.length % blockBytes != 0 || stateCommitments.length != input.length / blockBytes) {
            revert InvalidInputSize();
        }
        bytes32[KECCAK_TREE_DEPTH] memory branch = proposalBranches[msg.sender][uuid];
        bytes memory leaf = new bytes(blockBytes + 64);
        for (uint256 i = 0; i < stateCommitments.length; ++i) {
            bytes32 stateCommitment = stateCommitments[i];
            bytes32 node;
            assembly ("memory-safe") {
                // One block, its number, its commitment, as `_requireLeaf` packs them. The block is inside the input.
                mcopy(add(leaf, 32), add(add(input, 32), mul(blockBytes, i)), blockBytes)
                mstore(add(leaf, 168), size)
                mstore(add(leaf, 200), stateCommitment)
                node := keccak256(add(leaf, 32), 200)
            }
            ++size;
            for (uint256 height = 0; height < KECCAK_TREE_DEPTH; ++height) {
                if ((size >> height) & 1 == 1) {
                    branch[height] = node;
                    break;
                }
                node = _hashPair(branch[height], node);
            }
        }
        proposalBranches[msg.sender][uuid] = branch;
        return size;
    }

    /// @dev Two leaves of the tree, of which `stateMatrix` is the state behind the first.
    function _requirePair(
        address claimant,
        uint256 uuid,
        StateMatrix memory stateMatrix,
        Leaf calldata preState,
        bytes32[] calldata preStateProof,
        Leaf calldata postState,
        bytes32[] calldata postStateProof
    ) private view {
        bytes32 root = getTreeRootLPP(claimant, uuid);
        _requireLeaf(root, preState, preStateProof);
        _requireLeaf(root, postState, postStateProof);
        if (stateMatrix.commitment() != preState.stateCommitment) revert InvalidPreimage();
    }

    function _requireLeaf(bytes32 root, Leaf calldata leaf, bytes32[] calldata proof) private pure {
        if (proof.length < KECCAK_TREE_DEPTH) revert InvalidProof();
        bytes32 node = keccak256(bytes.concat(leaf.input, bytes32(leaf.index), leaf.stateCommitment));
        for (uint256 height = 0; height < KECCAK_TREE_DEPTH; ++height) {
            bool isRight = (leaf.index >> height) & 1 == 1;
            node = isRight ? _hashPair(proof[height], node) : _hashPair(node, proof[height]);
        }
        if (node != root) revert InvalidProof();
    }

    /// @dev Absorbs the block; unless that leads to the state that was committed to, the sender gets the bond.
    function _counter(address claimant, uint256 uuid, StateMatrix memory stateMatrix, Leaf calldata postState) private {
        stateMatrix.absorb(postState.input);
        if (stateMatrix.commitment() == postState.stateCommitment) revert PostStateMatches();
        proposalMetadata[claimant][uuid] = proposalMetadata[claimant][uuid].asCountered();
        _payOut(claimant, uuid, msg.sender);
    }

    function _settle(address claimant, uint256 uuid, PreimageKey key) private {
        ProposalMetadata metadata = proposalMetadata[claimant][uuid];
        _store(key, metadata.partOffset(), metadata.claimedSize(), proposalParts[claimant][uuid]);
        _payOut(claimant, uuid, claimant);
    }

    function _payOut(address claimant, uint256 uuid, address to) private {
        uint256 bond = proposalBonds[claimant][uuid];
        proposalBonds[claimant][uuid] = 0;
        (bool isPaid,) = to.call{value: bond}("");
        if (!isPaid) revert BondTransferFailed();
    }

    function _hashPair(bytes32 left, bytes32 right) private pure returns (bytes32 parent) {
        assembly ("memory-safe") {
            mstore(0x00, left)
            mstore(0x20, right)
            parent := keccak256(0x00, 0x40)
        }
    }
}

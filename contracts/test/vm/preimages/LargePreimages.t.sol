// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {PreimageOracle} from "../../../src/vm/PreimageOracle.sol";
import {PreimageKey, preimageKey} from "../../../src/vm/PreimageKey.sol";
import {KeccakSponge, StateMatrix} from "../../../src/vm/preimages/KeccakSponge.sol";
import {LargePreimages} from "../../../src/vm/preimages/LargePreimages.sol";
import "../../../src/vm/preimages/PreimageErrors.sol";
import {ProposalMetadata, ProposalMetadataFields} from "../../../src/vm/preimages/ProposalMetadata.sol";
import {Test} from "../../Test.sol";

/// @dev An oracle in which a proposal can be made nearly full.
contract RoomyOracle is PreimageOracle {
    constructor() PreimageOracle(1, 1) {}

    function setBlocks(address claimant, uint256 uuid, uint32 blocks, uint32 size) external {
        proposalMetadata[claimant][uuid] = proposalMetadata[claimant][uuid].withProgress(blocks, size);
    }
}

/// @dev Takes no money.
contract Refuser {
    function challengeFirst(
        PreimageOracle oracle,
        address claimant,
        LargePreimages.Leaf calldata leaf,
        bytes32[] calldata proof
    ) external {
        oracle.challengeFirstLPP(claimant, 7, leaf, proof);
    }

    function init(PreimageOracle oracle) external payable {
        oracle.initLPP{value: msg.value}(1, 0, 1000);
    }
}

/// @notice Proposals of large pre-images: what is squeezed is the pre-image's own part, and a false commitment costs the bond.
contract LargePreimagesTest is Test {
    using KeccakSponge for StateMatrix;

    uint256 internal constant UUID = 7;
    uint256 internal constant PERIOD = 86_400;
    uint256 internal constant BOND = 0.25 ether;

    PreimageOracle internal oracle;
    address internal claimant = address(0xC1A1);
    address internal other = address(0x07E3);

    function setUp() public {
        oracle = new PreimageOracle(1, PERIOD);
        vm.deal(claimant, 10 ether);
        vm.warp(1_800_000_000);
    }

    // ---- what the tests compute themselves ----

    function content(uint256 seed, uint256 size) internal pure returns (bytes memory data) {
        data = new bytes(size);
        for (uint256 i = 0; i < size; ++i) {
            data[i] = keccak256(abi.encode(seed, i / 32))[i % 32];
        }
    }

    /// @dev Pads, absorbs and commits, as a proposer does.
    function leavesOf(bytes memory data) internal view returns (LargePreimages.Leaf[] memory leaves) {
        bytes memory whole = this.padded(data);
        leaves = new LargePreimages.Leaf[](whole.length / 136);
        StateMatrix memory state;
        for (uint256 i = 0; i < leaves.length; ++i) {
            bytes memory input = slice(whole, 136 * i, 136 * i + 136);
            state.absorb(input);
            leaves[i] = LargePreimages.Leaf(input, i, state.commitment());
        }
    }

    function padded(bytes calldata data) external pure returns (bytes memory) {
        return KeccakSponge.pad(data);
    }

    function stateBefore(LargePreimages.Leaf[] memory leaves, uint256 index)
        internal
        pure
        returns (StateMatrix memory state)
    {
        for (uint256 i = 0; i < index; ++i) {
            state.absorb(leaves[i].input);
        }
    }

    function slice(bytes memory data, uint256 start, uint256 end) internal pure returns (bytes memory part) {
        part = new bytes(end - start);
        for (uint256 i = 0; i < part.length; ++i) {
            part[i] = data[start + i];
        }
    }

    /// @dev All levels of the tree, the slow obvious way; answers the siblings of a leaf, and the root behind them.
    function pathOf(LargePreimages.Leaf[] memory leaves, uint256 index)
        internal
        pure
        returns (bytes32[] memory siblings, bytes32 root)
    {
        bytes32[] memory level = new bytes32[](leaves.length);
        for (uint256 i = 0; i < leaves.length; ++i) {
            level[i] = keccak256(abi.encodePacked(leaves[i].input, leaves[i].index, leaves[i].stateCommitment));
        }
        siblings = new bytes32[](16);
        bytes32 zero = 0;
        for (uint256 height = 0; height < 16; ++height) {
            siblings[height] = (index ^ 1) < level.length ? level[index ^ 1] : zero;
            bytes32[] memory above = new bytes32[]((level.length + 1) / 2);
            for (uint256 i = 0; i < above.length; ++i) {
                bytes32 right = 2 * i + 1 < level.length ? level[2 * i + 1] : zero;
                above[i] = keccak256(abi.encode(level[2 * i], right));
            }
            (level, zero, index) = (above, keccak256(abi.encode(zero, zero)), index / 2);
        }
        root = level[0];
    }

    function slowPart(bytes memory preimage, uint256 offset) internal pure returns (bytes32 part) {
        bytes memory object = abi.encodePacked(uint64(preimage.length), preimage);
        for (uint256 i = 0; i < 32; ++i) {
            if (offset + i < object.length) part |= bytes32(object[offset + i]) >> (8 * i);
        }
    }

    // ---- what a proposer, a challenger and a bystander do ----

    function init(uint32 partOffset, uint256 size) internal {
        vm.prank(claimant, claimant);
        oracle.initLPP{value: BOND}(UUID, partOffset, uint32(size));
    }

    function add(bytes memory data, LargePreimages.Leaf[] memory leaves, uint256 first, uint256 count) internal {
        bytes32[] memory commitments = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) {
            commitments[i] = leaves[first + i].stateCommitment;
        }
        bool isLast = first + count == leaves.length;
        bytes memory input = slice(data, 136 * first, isLast ? data.length : 136 * (first + count));
        vm.prank(claimant, claimant);
        oracle.addLeavesLPP(UUID, first, input, commitments, isLast);
    }

    function challenge(LargePreimages.Leaf[] memory leaves, uint256 index) internal {
        (bytes32[] memory proof,) = pathOf(leaves, index);
        if (index == 0) {
            vm.prank(other);
            return oracle.challengeFirstLPP(claimant, UUID, leaves[0], proof);
        }
        (bytes32[] memory before,) = pathOf(leaves, index - 1);
        StateMatrix memory state = stateBefore(leaves, index);
        vm.prank(other);
        oracle.challengeLPP(claimant, UUID, state, leaves[index - 1], before, leaves[index], proof);
    }

    function squeeze(LargePreimages.Leaf[] memory leaves) internal {
        uint256 last = leaves.length - 1;
        (bytes32[] memory before,) = pathOf(leaves, last - 1);
        (bytes32[] memory proof,) = pathOf(leaves, last);
        StateMatrix memory state = stateBefore(leaves, last);
        vm.prank(other);
        oracle.squeezeLPP(claimant, UUID, state, leaves[last - 1], before, leaves[last], proof);
    }

    function proposed(uint256 size, uint32 partOffset)
        internal
        returns (bytes memory data, LargePreimages.Leaf[] memory leaves)
    {
        data = content(1, size);
        leaves = leavesOf(data);
        init(partOffset, size);
        add(data, leaves, 0, leaves.length);
    }

    // ---- the hash function ----

    function testFuzz_sponge_isTheChainsOwnHash(uint256 seed, uint256 size) public view {
        bytes memory data = content(seed, bound(size, 0, 700));
        LargePreimages.Leaf[] memory leaves = leavesOf(data);
        StateMatrix memory state = stateBefore(leaves, leaves.length);
        vm.assertEq(state.digest(), keccak256(data));
    }

    function test_padding_ofEveryLength() public view {
        for (uint256 size = 0; size <= 137; ++size) {
            bytes memory data = content(size, size);
            LargePreimages.Leaf[] memory leaves = leavesOf(data);
            vm.assertEq(leaves.length, size / 136 + 1);
            StateMatrix memory state = stateBefore(leaves, leaves.length);
            vm.assertEq(state.digest(), keccak256(data));
        }
    }

    // ---- honest proposals ----

    function testFuzz_squeezed_isThePreimagesOwnPart(uint256 seed, uint256 size, uint256 offset) public {
        size = bound(size, 136, 1200);
        offset = bound(offset, 0, size + 7);
        bytes memory data = content(seed, size);
        LargePreimages.Leaf[] memory leaves = leavesOf(data);
        init(uint32(offset), size);
        uint256 first = 0;
        while (first < leaves.length) {
            uint256 count = bound(uint256(keccak256(abi.encode(seed, first))), 1, leaves.length - first);
            // The whole part has to be in one piece of input.
            uint256 end = 136 * (first + count);
            bool isCut = offset >= 8 && offset - 8 >= 136 * first && offset - 8 < end && offset + 24 >= end;
            if (isCut && first + count < leaves.length) count = leaves.length - first;
            add(data, leaves, first, count);
            first += count;
            LargePreimages.Leaf[] memory sent = new LargePreimages.Leaf[](first);
            for (uint256 i = 0; i < first; ++i) {
                sent[i] = leaves[i];
            }
            (, bytes32 root) = pathOf(sent, 0);
            vm.assertEq(oracle.getTreeRootLPP(claimant, UUID), root);
        }
        skip(PERIOD + 1);
        uint256 before = claimant.balance;
        squeeze(leaves);
        vm.assertEq(claimant.balance - before, BOND);
        PreimageKey key = preimageKey(keccak256(data), 2);
        (bytes32 part, uint256 length) = oracle.readPreimage(key, offset);
        vm.assertEq(part, slowPart(data, offset));
        vm.assertEq(length, size + 8 - offset < 32 ? size + 8 - offset : 32);
        vm.assertEq(oracle.preimageLengths(key), size);
        // The direct way comes to the same.
        PreimageOracle direct = new PreimageOracle(1, 1);
        direct.loadKeccak256PreimagePart(offset, data);
        vm.assertEq(direct.preimageParts(key, offset), part);
    }

    function testFuzz_honestProposal_cannotBeChallenged(uint256 seed, uint256 size, uint256 index) public {
        size = bound(size, 136, 900);
        bytes memory data = content(seed, size);
        LargePreimages.Leaf[] memory leaves = leavesOf(data);
        init(0, size);
        add(data, leaves, 0, leaves.length);
        index = bound(index, 0, leaves.length - 1);
        vm.expectRevert(PostStateMatches.selector);
        this.challengeFromOutside(leaves, index);
    }

    function challengeFromOutside(LargePreimages.Leaf[] memory leaves, uint256 index) external {
        challenge(leaves, index);
    }

    function squeezeFromOutside(LargePreimages.Leaf[] memory leaves) external {
        squeeze(leaves);
    }

    function addFromOutside(bytes memory data, LargePreimages.Leaf[] memory leaves, uint256 first, uint256 count)
        external
    {
        add(data, leaves, first, count);
    }

    // ---- false proposals ----

    function testFuzz_falseCommitment_losesTheBondAndIsNeverSqueezed(uint256 seed, uint256 size, uint256 index) public {
        size = bound(size, 136, 900);
        bytes memory data = content(seed, size);
        LargePreimages.Leaf[] memory leaves = leavesOf(data);
        index = bound(index, 0, leaves.length - 1);
        leaves[index].stateCommitment ^= bytes32(uint256(1) << (seed % 256));
        init(0, size);
        add(data, leaves, 0, leaves.length);
        challenge(leaves, index);
        vm.assertEq(other.balance, BOND);
        vm.assertEq(oracle.proposalBonds(claimant, UUID), 0);
        vm.assertTrue(oracle.proposalMetadata(claimant, UUID).countered());
        skip(PERIOD + 1);
        vm.expectRevert(BadProposal.selector);
        this.squeezeFromOutside(leaves);
        challenge(leaves, index); // once more: there is nothing left to win
        vm.assertEq(other.balance, BOND);
    }

    function test_falseProposal_canBeChallengedBeforeItsInputIsWhole() public {
        bytes memory data = content(2, 500);
        LargePreimages.Leaf[] memory leaves = leavesOf(data);
        leaves[0].stateCommitment = 0;
        init(0, 500);
        add(data, leaves, 0, 2);
        LargePreimages.Leaf[] memory sent = new LargePreimages.Leaf[](2);
        (sent[0], sent[1]) = (leaves[0], leaves[1]);
        challenge(sent, 0);
        vm.assertEq(other.balance, BOND);
    }

    function test_challenge_needsLeavesOfTheTreeThatFollowEachOther() public {
        (, LargePreimages.Leaf[] memory leaves) = proposed(500, 0);
        (bytes32[] memory first,) = pathOf(leaves, 0);
        (bytes32[] memory second,) = pathOf(leaves, 1);
        (bytes32[] memory third,) = pathOf(leaves, 2);
        StateMatrix memory state = stateBefore(leaves, 1);
        vm.expectRevert(InvalidProof.selector);
        oracle.challengeLPP(claimant, UUID, state, leaves[0], second, leaves[1], second);
        vm.expectRevert(InvalidProof.selector);
        oracle.challengeLPP(claimant, UUID, state, leaves[0], first, leaves[1], first);
        vm.expectRevert(StatesNotContiguous.selector);
        oracle.challengeLPP(claimant, UUID, state, leaves[0], first, leaves[2], third);
        vm.expectRevert(StatesNotContiguous.selector);
        oracle.challengeFirstLPP(claimant, UUID, leaves[1], second);
        state.state[24] ^= 1;
        vm.expectRevert(InvalidPreimage.selector);
        oracle.challengeLPP(claimant, UUID, state, leaves[0], first, leaves[1], second);
        bytes32[] memory short = new bytes32[](15);
        vm.expectRevert(InvalidProof.selector);
        oracle.challengeFirstLPP(claimant, UUID, leaves[0], short);
    }

    function test_bond_thatIsRefused_staysWhereItIs() public {
        bytes memory data = content(2, 500);
        LargePreimages.Leaf[] memory leaves = leavesOf(data);
        leaves[0].stateCommitment = 0;
        init(0, 500);
        add(data, leaves, 0, leaves.length);
        (bytes32[] memory proof,) = pathOf(leaves, 0);
        Refuser refuser = new Refuser();
        vm.expectRevert(BondTransferFailed.selector);
        refuser.challengeFirst(oracle, claimant, leaves[0], proof);
        vm.assertEq(oracle.proposalBonds(claimant, UUID), BOND);
    }

    // ---- what is refused ----

    function test_init_refusesInThisOrder() public {
        vm.deal(address(this), 1 ether);
        vm.expectRevert(InsufficientBond.selector);
        oracle.initLPP{value: BOND - 1}(UUID, 9, 1);
        Refuser contract_ = new Refuser();
        vm.expectRevert(NotEOA.selector);
        contract_.init{value: BOND}(oracle);
        vm.startPrank(claimant, claimant);
        vm.expectRevert(PartOffsetOOB.selector);
        oracle.initLPP{value: BOND}(UUID, 8, 0);
        vm.expectRevert(InvalidInputSize.selector);
        oracle.initLPP{value: BOND}(UUID, 7, 0);
        vm.expectRevert();
        oracle.initLPP{value: BOND}(UUID, 0, type(uint32).max - 7);
        oracle.initLPP{value: BOND}(UUID, 8, 1);
        vm.expectRevert(AlreadyInitialized.selector);
        oracle.initLPP{value: BOND}(UUID, 8, 1);
        vm.stopPrank();
        vm.assertEq(oracle.proposalCount(), 1);
    }

    function test_add_refusesWhatIsOutOfOrder() public {
        bytes memory data = content(2, 500);
        LargePreimages.Leaf[] memory leaves = leavesOf(data);
        vm.expectRevert(NotInitialized.selector);
        this.addFromOutside(data, leaves, 0, 1);
        init(0, 501);
        vm.expectRevert(NotEOA.selector);
        vm.prank(claimant);
        oracle.addLeavesLPP(UUID, 0, "", new bytes32[](0), false);
        vm.expectRevert(WrongStartingBlock.selector);
        this.addFromOutside(data, leaves, 1, 1);
        add(data, leaves, 0, 1);
        vm.expectRevert(WrongStartingBlock.selector);
        this.addFromOutside(data, leaves, 0, 1);
        vm.expectRevert(InvalidInputSize.selector);
        this.addFromOutside(data, leaves, 1, 3); // 500 bytes, not 501
        vm.prank(claimant, claimant);
        vm.expectRevert(InvalidInputSize.selector);
        oracle.addLeavesLPP(UUID, 1, new bytes(137), new bytes32[](1), false);
        vm.prank(claimant, claimant);
        vm.expectRevert(InvalidInputSize.selector);
        oracle.addLeavesLPP(UUID, 1, new bytes(136), new bytes32[](2), false);
        vm.prank(claimant, claimant);
        oracle.addLeavesLPP(UUID, 1, new bytes(365), new bytes32[](3), true);
        vm.prank(claimant, claimant);
        vm.expectRevert(AlreadyFinalized.selector);
        oracle.addLeavesLPP(UUID, 4, "", new bytes32[](1), true);
    }

    function test_add_refusesAPartInTwoPieces() public {
        bytes memory data = content(2, 500);
        LargePreimages.Leaf[] memory leaves = leavesOf(data);
        init(8 + 136 - 31, 500); // one byte of it is in the second block
        vm.expectRevert(PartOffsetOOB.selector);
        this.addFromOutside(data, leaves, 0, 1);
        add(data, leaves, 0, 2);
        vm.assertEq(oracle.proposalParts(claimant, UUID), slowPart(data, 8 + 136 - 31));
    }

    /// @dev From the part that ends one byte before an input's end on to the one that begins the next input.
    function test_add_refusesPartsThatReachTheEndOfAnInput() public {
        bytes memory data = content(5, 300);
        LargePreimages.Leaf[] memory leaves = leavesOf(data);
        for (uint32 start = 136 - 33; start <= 136; ++start) {
            uint256 clean = vm.snapshotState();
            init(8 + start, data.length);
            if (start >= 136 - 32 && start < 136) vm.expectRevert(PartOffsetOOB.selector);
            this.addFromOutside(data, leaves, 0, 1);
            vm.revertToState(clean);
        }
    }

    function test_add_refusesMoreBlocksThanTheTreeHolds() public {
        RoomyOracle roomy = new RoomyOracle();
        vm.startPrank(claimant, claimant);
        roomy.initLPP{value: BOND}(UUID, 0, 10_000_000);
        roomy.setBlocks(claimant, UUID, 65_534, 65_534 * 136);
        roomy.addLeavesLPP(UUID, 65_534, new bytes(136), new bytes32[](1), false);
        vm.expectRevert(TreeSizeOverflow.selector);
        roomy.addLeavesLPP(UUID, 65_535, new bytes(136), new bytes32[](1), false);
        vm.stopPrank();
    }

    function test_squeeze_waitsForTheWholeInputAndTheWholePeriod() public {
        bytes memory data = content(2, 500);
        LargePreimages.Leaf[] memory leaves = leavesOf(data);
        init(0, 500);
        vm.expectRevert(ActiveProposal.selector);
        this.squeezeFromOutside(leaves);
        add(data, leaves, 0, 3);
        skip(PERIOD + 1);
        vm.expectRevert(ActiveProposal.selector);
        this.squeezeFromOutside(leaves);
        add(data, leaves, 3, 1);
        skip(PERIOD);
        vm.expectRevert(ActiveProposal.selector);
        this.squeezeFromOutside(leaves);
        skip(1);
        squeeze(leaves);
        squeeze(leaves); // the bond is paid once
        vm.assertEq(address(oracle).balance, 0);
    }

    function test_squeeze_needsTheLastTwoLeaves() public {
        (, LargePreimages.Leaf[] memory leaves) = proposed(500, 0);
        skip(PERIOD + 1);
        (bytes32[] memory first,) = pathOf(leaves, 0);
        (bytes32[] memory second,) = pathOf(leaves, 1);
        StateMatrix memory state = stateBefore(leaves, 1);
        vm.expectRevert(StatesNotContiguous.selector);
        oracle.squeezeLPP(claimant, UUID, state, leaves[0], first, leaves[1], second);
        vm.expectRevert(InvalidProof.selector);
        oracle.squeezeLPP(claimant, UUID, state, leaves[0], second, leaves[1], second);
    }

    // ---- getters ----

    function test_getters_answerAsClientsExpect() public {
        vm.assertEq(oracle.MIN_BOND_SIZE(), BOND);
        vm.assertEq(oracle.KECCAK_TREE_DEPTH(), 16);
        vm.assertEq(oracle.MAX_LEAF_COUNT(), 65_535);
        vm.assertEq(oracle.PRECOMPILE_CALL_RESERVED_GAS(), 100_000);
        vm.assertEq(oracle.zeroHashes(0), 0);
        vm.assertEq(oracle.zeroHashes(1), keccak256(new bytes(64)));
        vm.expectRevert();
        oracle.zeroHashes(16);
        (, LargePreimages.Leaf[] memory leaves) = proposed(500, 3);
        vm.assertEq(oracle.proposalBlocksLen(claimant, UUID), 1);
        vm.assertEq(oracle.proposalBlocks(claimant, UUID, 0), block.number);
        (address who, uint256 uuid) = oracle.proposals(0);
        vm.assertEq(who, claimant);
        vm.assertEq(uuid, UUID);
        vm.assertEq(leaves.length, 4);
    }

    function testFuzz_metadata_keepsItsFieldsApart(uint32 offset, uint32 size, uint32 blocks, uint32 sent, uint64 time)
        public
        pure
    {
        ProposalMetadata metadata = ProposalMetadataFields.opened(offset, size).withTimestamp(time);
        metadata = metadata.withProgress(blocks, sent).asCountered().withProgress(blocks, sent).withTimestamp(time);
        uint256 expected = uint256(time) << 192 | uint256(offset) << 160 | uint256(size) << 128;
        vm.assertEq(
            ProposalMetadata.unwrap(metadata), expected | uint256(blocks) << 96 | uint256(sent) << 64 | uint256(1)
        );
        vm.assertEq(metadata.timestamp(), time);
        vm.assertEq(metadata.partOffset(), offset);
        vm.assertEq(metadata.claimedSize(), size);
        vm.assertEq(metadata.blocksProcessed(), blocks);
        vm.assertEq(metadata.bytesProcessed(), sent);
        vm.assertTrue(metadata.countered());
    }
}

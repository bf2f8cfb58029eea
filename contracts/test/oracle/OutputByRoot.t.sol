// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Vm} from "../Test.sol";
import {OracleFixture} from "./helpers/OracleFixture.sol";
import {randomBytes} from "./helpers/RandomBytes.sol";
import {SlowTree} from "./helpers/SlowTree.sol";
import {Claim, claimOf} from "../../src/dispute/Claim.sol";
import {FaultDisputeGame} from "../../src/dispute/FaultDisputeGame.sol";
import {RequestId} from "../../src/dispute/RequestId.sol";
import {StateRoot} from "../../src/dispute/StateRoot.sol";
import {ValueReader} from "../../src/examples/ValueReader.sol";
import {ModelId} from "../../src/oracle/ModelId.sol";
import {ArenaRoot, InputRoot, ModelRoot, OutputRoot} from "../../src/oracle/SectionRoot.sol";
import {SegmentTree} from "../../src/oracle/SegmentTree.sol";
import {IInferenceOracle, ItemOutput, Request, RequestTerms} from "../../src/oracle/interfaces/IInferenceOracle.sol";
import {IInferenceRootConsumer} from "../../src/oracle/interfaces/IInferenceRootConsumer.sol";
import {ISegmentRoots} from "../../src/oracle/interfaces/ISegmentRoots.sol";

/// @notice Keeps what it was told of each item.
contract RootConsumer is IInferenceRootConsumer {
    mapping(RequestId => OutputRoot) public rootOf;

    function onInferenceRoot(RequestId requestId, ModelId, OutputRoot outputRoot) external {
        rootOf[requestId] = outputRoot;
    }
}

/// @notice Outputs delivered as roots, and their parts proven.
contract OutputByRootTest is OracleFixture {
    /// @dev 3,000 numbers: as much as a test can hash the slow way.
    uint64 internal constant LARGE_BYTES = 12_000;
    /// @dev Log2 of the least subtree that holds it.
    uint256 internal constant LOG2_IMAGE = 14;

    ValueReader internal reader;
    ISegmentRoots internal roots;
    ModelId internal largeModel;
    bytes internal image;
    /// @dev Of the image, then zeros: row k holds the subtrees of 2^(k + 5) bytes, up to LOG2_IMAGE.
    bytes32[][] internal rows;

    function setUp() public override {
        super.setUp();
        bytes32[2] memory leaves = headerLeaves(NODES, 16, INPUT_BYTES, LARGE_BYTES);
        largeModel = models.register(describe(modelRootOf(leaves, headerProof())), leaves, headerProof());
        reader = new ValueReader(oracle, largeModel);
        roots = oracle.segmentRoots();
        image = randomBytes(LARGE_BYTES, 7);
        bytes32[] memory row = new bytes32[](1 << (LOG2_IMAGE - 5));
        for (uint256 i = 0; i < row.length; ++i) {
            row[i] = leafAt(i);
        }
        rows.push(row);
        while (row.length > 1) {
            bytes32[] memory above = new bytes32[](row.length / 2);
            for (uint256 i = 0; i < above.length; ++i) {
                above[i] = keccak256(abi.encode(row[2 * i], row[2 * i + 1]));
            }
            rows.push(row = above);
        }
    }

    function leafAt(uint256 index) internal view returns (bytes32) {
        return 32 * index < LARGE_BYTES ? bytes32(partAt(32 * index, 32)) : bytes32(0);
    }

    /// @dev Bytes of the image, cut at its end.
    function partAt(uint256 offset, uint256 size) internal view returns (bytes memory part) {
        bytes memory whole = image;
        uint256 end = offset + size > whole.length ? whole.length : offset + size;
        if (offset >= end) return "";
        part = new bytes(end - offset);
        for (uint256 i = 0; i < part.length; ++i) {
            part[i] = whole[offset + i];
        }
    }

    /// @dev The siblings of the subtree of 2^log2Size bytes at an offset, up to the section's root.
    function siblingsAt(uint256 offset, uint256 log2Size) internal view returns (bytes32[] memory siblings) {
        siblings = new bytes32[](36 - log2Size);
        uint256 index = offset >> log2Size;
        for (uint256 i = 0; i < siblings.length; ++i) {
            uint256 level = log2Size + i;
            uint256 beside = (index >> i) ^ 1;
            siblings[i] = subtreeRoot(level, beside);
        }
    }

    function subtreeRoot(uint256 level, uint256 index) internal view returns (bytes32 root) {
        if (level <= LOG2_IMAGE && index < rows[level - 5].length) return rows[level - 5][index];
        if (index != 0) return SegmentTree.zeroRoot(level);
        root = rows[LOG2_IMAGE - 5][0];
        for (uint256 at = LOG2_IMAGE; at < level; ++at) {
            root = keccak256(abi.encode(root, SegmentTree.zeroRoot(at)));
        }
    }

    function sectionRoot() internal view returns (OutputRoot) {
        return OutputRoot.wrap(subtreeRoot(36, 0));
    }

    function finalClaim(RequestId id) internal view returns (Claim) {
        Request memory asked = oracle.requests(id);
        (ModelRoot modelRoot,,,,,) = models.parameters(asked.modelId);
        return claimOf(roots.finalRoot(modelRoot, NODES, asked.inputRoot, sectionRoot(), ArenaRoot.wrap(ARENA)));
    }

    function delivered() internal returns (RequestId id) {
        id = reader.ask{value: 1 ether}(input, 0);
        FaultDisputeGame game = propose(id, finalClaim(id));
        survive(game);
        uint256 before = PROPOSER.balance;
        oracle.finalizeByRoot(id, game, sectionRoot(), ArenaRoot.wrap(ARENA));
        vm.assertEq(PROPOSER.balance, before + 1 ether);
    }

    function test_theRootIsDelivered() public {
        RequestId id = reader.ask(input, 0);
        FaultDisputeGame game = propose(id, finalClaim(id));
        survive(game);
        vm.expectEmit(address(oracle));
        emit IInferenceOracle.InferenceDeliveredByRoot(id, largeModel, game, sectionRoot());
        vm.expectEmit(address(reader));
        emit ValueReader.OutputKnown(id, sectionRoot());
        oracle.finalizeByRoot(id, game, sectionRoot(), ArenaRoot.wrap(ARENA));
        vm.assertEq(OutputRoot.unwrap(oracle.requests(id).outputRoot), OutputRoot.unwrap(sectionRoot()));
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.AlreadyDelivered.selector, id, game));
        oracle.finalizeByRoot(id, game, sectionRoot(), ArenaRoot.wrap(ARENA));
    }

    /// @notice Where a request has no consumer, nothing is called or told.
    function test_withoutConsumer() public {
        RequestTerms memory terms;
        terms.outputByRoot = true;
        RequestId id = oracle.request(largeModel, input, terms);
        FaultDisputeGame game = propose(id, finalClaim(id));
        survive(game);
        vm.recordLogs();
        oracle.finalizeByRoot(id, game, sectionRoot(), ArenaRoot.wrap(ARENA));
        Vm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertGt(logs.length, 0);
        for (uint256 i = 0; i < logs.length; ++i) {
            vm.assertNotEq(logs[i].topics[0], IInferenceOracle.CallbackCalled.selector);
        }
    }

    function test_anotherRootIsRefused() public {
        RequestId id = reader.ask(input, 0);
        FaultDisputeGame game = propose(id, finalClaim(id));
        survive(game);
        OutputRoot right = sectionRoot();
        vm.expectPartialRevert(IInferenceOracle.StateRootMismatch.selector);
        oracle.finalizeByRoot(id, game, OutputRoot.wrap("another"), ArenaRoot.wrap(ARENA));
        vm.expectPartialRevert(IInferenceOracle.StateRootMismatch.selector);
        oracle.finalizeByRoot(id, game, right, ArenaRoot.wrap("another"));
    }

    /// @notice How an output is delivered is the requester's choice: else an account could deliver a root to a consumer that
    ///         needs the bytes.
    function test_theRequesterChooses() public {
        RequestId byRoot = reader.ask(input, 0);
        FaultDisputeGame game = propose(byRoot, finalClaim(byRoot));
        RequestId wholly = ask(address(0), 0, 0);
        FaultDisputeGame other = proposeTruth(wholly);
        survive(game);
        resolve(other);
        skip(FINALITY_DELAY + 1);
        OutputRoot root = sectionRoot();
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.WrongDelivery.selector, byRoot, true));
        oracle.finalize(byRoot, game, image, ArenaRoot.wrap(ARENA));
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.WrongDelivery.selector, wholly, false));
        oracle.finalizeByRoot(wholly, other, root, ArenaRoot.wrap(ARENA));
    }

    function test_valuesAt_readsWhatWasProven() public {
        RequestId id = reader.ask(input, 0);
        bytes32[] memory siblings = siblingsAt(64, 5);
        bytes memory part = partAt(64, 32);
        vm.expectRevert(abi.encodeWithSelector(ValueReader.NotDelivered.selector, id));
        reader.valuesAt(id, part, 64, siblings);
        id = delivered();
        uint32[] memory values = reader.valuesAt(id, part, 64, siblings);
        vm.assertEq(values.length, 8);
        for (uint256 i = 0; i < 8; ++i) {
            uint256 word = uint256(bytes32(part));
            vm.assertEq(values[i], uint32(word >> (224 - 32 * i)));
        }
    }

    /// @notice An input that is given by its root is asked about on the same terms.
    function test_askAbout_isAsked() public {
        RequestId whole = reader.ask(input, 3 ether);
        InputRoot inputRoot = oracle.requests(whole).inputRoot;
        RequestId id = reader.askAbout{value: 1 ether}(inputRoot, "ipfs://image", 3 ether);
        vm.assertTrue(reader.asked(id));
        Request memory asked = oracle.requests(id);
        vm.assertEq(InputRoot.unwrap(asked.inputRoot), InputRoot.unwrap(inputRoot));
        vm.assertEq(asked.callback, address(reader));
        vm.assertEq(asked.callbackGas, reader.CALLBACK_GAS());
        vm.assertTrue(asked.outputByRoot);
        vm.assertEq(asked.minBond, 3 ether);
        vm.assertEq(asked.fee, 1 ether);
    }

    /// @notice Every part of every size is proven with its own siblings at its own place, and no other.
    function testFuzz_partsAreProven(uint256 offset, uint256 log2Size, uint256 change) public {
        RequestId id = delivered();
        log2Size = bound(log2Size, 5, LOG2_IMAGE + 2);
        offset = bound(offset, 0, LARGE_BYTES - 1) >> log2Size << log2Size;
        bytes memory part = partAt(offset, 1 << log2Size);
        bytes32[] memory siblings = siblingsAt(offset, log2Size);
        reader.valuesAt(id, part, offset, siblings);

        if (change % 3 == 0) {
            part[change / 3 % part.length] ^= 0x01;
        } else if (change % 3 == 1) {
            siblings[change / 3 % siblings.length] ^= bytes32(uint256(1));
        } else {
            offset ^= 1 << (log2Size + change / 3 % (36 - log2Size));
        }
        vm.expectPartialRevert(ValueReader.NotInOutput.selector);
        reader.valuesAt(id, part, offset, siblings);
    }

    /// @notice What comes after the image is zeros, and can be shown to be.
    function test_zerosAfterTheImageAreProven() public {
        RequestId id = delivered();
        reader.valuesAt(id, "", 1 << 20, siblingsAt(1 << 20, 20));
        reader.valuesAt(id, new bytes(32), (1 << 36) - 32, siblingsAt((1 << 36) - 32, 5));
    }

    function test_wholeImageIsAPart() public view {
        bytes32[] memory none = new bytes32[](0);
        vm.assertEq(OutputRoot.unwrap(roots.outputRootWith(image, 0, none)), OutputRoot.unwrap(sectionRoot()));
        vm.assertEq(OutputRoot.unwrap(roots.outputRoot(image)), OutputRoot.unwrap(sectionRoot()));
    }

    function test_outputRootWith_refusesWhatIsNoPlace() public {
        bytes32[] memory siblings = new bytes32[](32);
        vm.expectRevert(abi.encodeWithSelector(ISegmentRoots.TooManySiblings.selector, 32, 31));
        roots.outputRootWith("", 0, siblings);
        siblings = new bytes32[](31);
        vm.expectRevert(abi.encodeWithSelector(ISegmentRoots.PartTooLarge.selector, 33, 32));
        roots.outputRootWith(new bytes(33), 0, siblings);
        vm.expectRevert(abi.encodeWithSelector(ISegmentRoots.BadPartOffset.selector, 31, 32));
        roots.outputRootWith(new bytes(1), 31, siblings);
        vm.expectRevert(abi.encodeWithSelector(ISegmentRoots.BadPartOffset.selector, 1 << 36, 32));
        roots.outputRootWith(new bytes(1), 1 << 36, siblings);
    }

    function test_consumerTakesOnlyItsOwn() public {
        RequestId id = reader.ask(input, 0);
        vm.expectRevert(abi.encodeWithSelector(ValueReader.NotOracle.selector, address(this), address(oracle)));
        reader.onInferenceRoot(id, largeModel, OutputRoot.wrap("lie"));
        vm.prank(address(oracle));
        vm.expectRevert(abi.encodeWithSelector(ValueReader.NotMyRequest.selector, RequestId.wrap("no")));
        reader.onInferenceRoot(RequestId.wrap("no"), largeModel, OutputRoot.wrap("lie"));
    }

    // ---------------------------------------------------------------- batches

    function test_batch_itemsByRoot() public {
        RootConsumer consumer = new RootConsumer();
        bytes memory images = bytes.concat(input, input);
        RequestTerms memory terms_ = RequestTerms(address(consumer), 50_000, true, 0, 0);
        RequestId id = oracle.requestBatch{value: 2 ether}(largeModel, images, 2, terms_);
        (ModelRoot modelRoot,,,,,) = models.parameters(largeModel);
        InputRoot inputRoot = InputRoot.wrap(SlowTree.rootOfRow(leavesOfInput()));
        for (uint256 level = 7; level < 36; ++level) {
            inputRoot = InputRoot.wrap(keccak256(abi.encode(inputRoot, SegmentTree.zeroRoot(level))));
        }
        StateRoot item = roots.finalRoot(modelRoot, NODES, inputRoot, sectionRoot(), ArenaRoot.wrap(ARENA));
        FaultDisputeGame game = propose(id, Claim.wrap(keccak256(abi.encode(item, item))));
        survive(game);
        bytes32[] memory siblings = new bytes32[](1);
        siblings[0] = item.raw();
        ItemOutput[] memory outputs = new ItemOutput[](1);
        outputs[0] = ItemOutput(1, "", OutputRoot.wrap("lie"), inputRoot, ArenaRoot.wrap(ARENA), siblings);
        vm.expectPartialRevert(IInferenceOracle.StateRootMismatch.selector);
        oracle.finalizeItems(id, game, outputs);
        outputs[0].outputRoot = sectionRoot();
        vm.expectEmit(address(oracle));
        emit IInferenceOracle.ItemDeliveredByRoot(id, 1, game, sectionRoot());
        oracle.finalizeItems(id, game, outputs);
        bytes32 told = OutputRoot.unwrap(consumer.rootOf(oracle.itemRequestId(id, 1)));
        vm.assertEq(told, OutputRoot.unwrap(sectionRoot()));
        vm.assertEq(OutputRoot.unwrap(oracle.itemOutputRoot(id, 1)), told);
        vm.assertEq(OutputRoot.unwrap(oracle.itemOutputRoot(id, 0)), 0);
        vm.assertEq(oracle.requests(id).fee, 1 ether);
    }

    function leavesOfInput() internal view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](4);
        bytes memory padded = bytes.concat(input, new bytes(28));
        for (uint256 i = 0; i < 4; ++i) {
            bytes32 leaf;
            assembly ("memory-safe") {
                leaf := mload(add(add(padded, 32), mul(32, i)))
            }
            leaves[i] = leaf;
        }
    }
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {OracleFixture} from "./helpers/OracleFixture.sol";
import {GoodConsumer} from "./helpers/Consumers.sol";
import {SlowTree} from "./helpers/SlowTree.sol";
import {AlphabetOracle} from "../dispute/helpers/AlphabetVm.sol";
import {Claim} from "../../src/dispute/Claim.sol";
import {FaultDisputeGame} from "../../src/dispute/FaultDisputeGame.sol";
import {Position} from "../../src/dispute/Position.sol";
import {RequestId} from "../../src/dispute/RequestId.sol";
import {StateRoot} from "../../src/dispute/StateRoot.sol";
import {ArenaRoot, InputRoot, ModelRoot, OutputRoot} from "../../src/oracle/SectionRoot.sol";
import {SegmentTree} from "../../src/oracle/SegmentTree.sol";
import {IDefenderShares} from "../../src/oracle/interfaces/IDefenderShares.sol";
import {IInferenceOracle, ItemOutput, Request, RequestTerms} from "../../src/oracle/interfaces/IInferenceOracle.sol";

/// @notice Batches: their roots follow from the items' own; items are delivered one by one, those that failed not.
contract BatchesTest is OracleFixture {
    uint256 internal constant ITEMS = 5;
    uint256 internal constant FAILED = 3;
    address internal constant NO_CALLBACK = address(0);

    function imageOf(uint256 item) internal pure returns (bytes memory) {
        return fill(INPUT_BYTES, string(abi.encode("item", item)));
    }

    function imagesOf(uint256 count) internal pure returns (bytes memory images) {
        for (uint256 i = 0; i < count; ++i) {
            images = bytes.concat(images, imageOf(i));
        }
    }

    function outputOf(uint256 item) internal pure returns (bytes memory) {
        return fill(OUTPUT_BYTES, string(abi.encode("output", item)));
    }

    function modelRoot() internal view returns (ModelRoot root) {
        (root,,,,,) = models.parameters(modelId);
    }

    function inputRootOf(bytes calldata image) external pure returns (InputRoot) {
        return SegmentTree.inputRootOf(image);
    }

    function outputRootOf(bytes calldata image) external pure returns (OutputRoot) {
        return OutputRoot.wrap(SegmentTree.imageRoot(image, SegmentTree.LOG2_OUTPUT));
    }

    function itemRoot(RequestId id, uint256 item) internal view returns (bytes32) {
        return OutputRoot.unwrap(oracle.itemOutputRoot(id, item));
    }

    function askBatch(uint256 count, address callback, uint64 callbackGas, uint256 fee) internal returns (RequestId) {
        vm.prank(REQUESTER);
        return oracle.requestBatch{value: fee}(modelId, imagesOf(count), count, terms(callback, callbackGas));
    }

    /// @dev The final state of an item; item FAILED ends with a status.
    function finalOf(uint256 item) internal view returns (StateRoot) {
        bool failed = item == FAILED;
        return SegmentTree.stateRoot(
            modelRoot(),
            SegmentTree.headerRoot(NODES, failed ? 7 : 0, failed ? 2 : 0),
            this.inputRootOf(imageOf(item)),
            this.outputRootOf(outputOf(item)),
            ArenaRoot.wrap(ARENA)
        );
    }

    /// @dev The tree's row of subtrees of 2^(40 + level) bytes, with zeros to its end.
    function rowOf(uint256 count, uint256 level) internal view returns (bytes32[] memory row) {
        uint256 room = 1;
        while (room < count) room *= 2;
        row = new bytes32[](room);
        for (uint256 i = 0; i < room; ++i) {
            row[i] = i < count ? finalOf(i).raw() : SegmentTree.zeroRoot(SegmentTree.LOG2_SEGMENT);
        }
        for (uint256 at = 0; at < level; ++at) {
            bytes32[] memory above = new bytes32[](row.length / 2);
            for (uint256 i = 0; i < above.length; ++i) {
                above[i] = SegmentTree.hashPair(row[2 * i], row[2 * i + 1]);
            }
            row = above;
        }
    }

    function heightOf(uint256 count) internal pure returns (uint256 height) {
        while (1 << height < count) ++height;
    }

    function rootOf(uint256 count) internal view returns (Claim) {
        return Claim.wrap(rowOf(count, heightOf(count))[0]);
    }

    function given(uint256 item, uint256 count) internal view returns (ItemOutput memory) {
        bytes32[] memory siblings = new bytes32[](heightOf(count));
        for (uint256 level = 0; level < siblings.length; ++level) {
            siblings[level] = rowOf(count, level)[(item >> level) ^ 1];
        }
        return ItemOutput(
            item, outputOf(item), OutputRoot.wrap(0), this.inputRootOf(imageOf(item)), ArenaRoot.wrap(ARENA), siblings
        );
    }

    function one(ItemOutput memory output) internal pure returns (ItemOutput[] memory outputs) {
        outputs = new ItemOutput[](1);
        outputs[0] = output;
    }

    function all(uint256 count) internal view returns (ItemOutput[] memory outputs) {
        outputs = new ItemOutput[](count - 1);
        for (uint256 i = 0; i < outputs.length; ++i) {
            outputs[i] = given(i < FAILED ? i : i + 1, count);
        }
    }

    function survivor(RequestId id, uint256 count) internal returns (FaultDisputeGame game) {
        game = propose(id, rootOf(count));
        survive(game);
    }

    // ---------------------------------------------------------------- asking

    function test_roots_followFromTheItemsOwn() public {
        for (uint256 count = 2; count < 10; ++count) {
            RequestId id = askBatch(count, NO_CALLBACK, 0, 0);
            uint256 room = 1 << heightOf(count);
            bytes32[] memory inputs = new bytes32[](room);
            bytes32[] memory states = new bytes32[](room);
            for (uint256 i = 0; i < room; ++i) {
                InputRoot own = i < count ? this.inputRootOf(imageOf(i)) : InputRoot.wrap(SegmentTree.zeroRoot(36));
                inputs[i] = InputRoot.unwrap(own);
                states[i] = i < count ? SegmentTree.initialRoot(modelRoot(), own).raw() : SegmentTree.zeroRoot(40);
            }
            Request memory asked = oracle.requests(id);
            vm.assertEq(InputRoot.unwrap(asked.inputRoot), SlowTree.rootOfRow(inputs));
            vm.assertEq(asked.startingRoot.raw(), SlowTree.rootOfRow(states));
            vm.assertEq(asked.itemCount, count);
            vm.assertEq(asked.itemsLeft, count);
        }
    }

    function test_gameParameters_countTheNodesOfAllItems() public {
        RequestId id = askBatch(ITEMS, NO_CALLBACK, 0, 0);
        (StateRoot first, uint64 nodes, uint64 split, uint64 max, uint64 items) = oracle.gameParameters(id);
        vm.assertEq(first.raw(), oracle.requests(id).startingRoot.raw());
        vm.assertEq(abi.encode(nodes, split, max, items), abi.encode(ITEMS * NODES, 6, 24, ITEMS));
        FaultDisputeGame game = propose(id, rootOf(ITEMS));
        vm.assertEq(abi.encode(game.nodeCount(), game.itemCount()), abi.encode(ITEMS * NODES, ITEMS));
    }

    function test_request_refusesWhatIsNoBatch() public {
        bytes memory images = imagesOf(2);
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.ItemCountOutOfRange.selector, 1, 2, 256));
        oracle.requestBatch(modelId, imageOf(0), 1, terms(NO_CALLBACK, 0));
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.ItemCountOutOfRange.selector, 257, 2, 256));
        oracle.requestBatch(modelId, images, 257, terms(NO_CALLBACK, 0));
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.InputSizeMismatch.selector, 200, 300));
        oracle.requestBatch(modelId, images, 3, terms(NO_CALLBACK, 0));
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.UnevenFee.selector, 3, 2));
        oracle.requestBatch{value: 3}(modelId, images, 2, terms(NO_CALLBACK, 0));
    }

    // ---------------------------------------------------------------- local data

    /// @notice The item of every node, in a game of its own for each: an attack on the leaf that asserts the state after it.
    function test_localData_tellsTheItem() public {
        modelId = register(2, 16);
        RequestId id = askBatch(3, NO_CALLBACK, 0, 0);
        for (uint256 leaf = 0; leaf < 8; ++leaf) {
            FaultDisputeGame game = propose(id, Claim.wrap(bytes32(leaf + 1)));
            uint256 index = 0;
            for (uint256 d = game.splitDepth(); d > 0; --d) {
                // Down to the leaf: defences lead right. The root claim can only be attacked.
                bool isAttack = d == game.splitDepth() || (leaf >> d) & 1 == 0;
                index = answer(game, index, isAttack, bytes32(d + 1));
            }
            // Behind the third leaf stands a claim of the other side, behind the others one of the mover's own.
            bool disputesOwn = leaf & 1 == 1 && leaf != 3;
            index = answer(game, index, leaf & 1 == 0, bytes32(uint256(disputesOwn ? 0 : 1) << 248));
            game.addLocalData(6, index, 0);
            uint256 item = (leaf < 5 ? leaf : 5) / 2;
            vm.assertEq(AlphabetOracle(address(alphabet.oracle())).lastLoad().word, bytes32(uint256(2) << 64 | item));
        }
    }

    function answer(FaultDisputeGame game, uint256 index, bool isAttack, bytes32 claim) internal returns (uint256) {
        (,,,, Claim disputed, Position position,) = game.claimData(index);
        uint256 bond = game.getRequiredBond(position.move(isAttack));
        game.move{value: bond}(disputed, index, Claim.wrap(claim), isAttack);
        return game.claimDataLen() - 1;
    }

    // ---------------------------------------------------------------- delivering

    function test_items_areDeliveredOneByOne() public {
        RequestId id = askBatch(ITEMS, NO_CALLBACK, 0, ITEMS * 1 ether);
        FaultDisputeGame game = survivor(id, ITEMS);
        uint256 before = PROPOSER.balance;
        for (uint256 item = 0; item < ITEMS; ++item) {
            if (item == FAILED) continue;
            oracle.finalizeItems(id, game, one(given(item, ITEMS)));
            vm.assertEq(itemRoot(id, item), OutputRoot.unwrap(this.outputRootOf(outputOf(item))));
        }
        vm.assertEq(PROPOSER.balance - before, (ITEMS - 1) * 1 ether);
        Request memory asked = oracle.requests(id);
        vm.assertEq(abi.encode(asked.itemsLeft, asked.fee, asked.deliveredBy), abi.encode(1, 1 ether, address(0)));
        // The failed item's share goes back.
        skip(RECLAIM_DELAY);
        vm.prank(REQUESTER);
        oracle.reclaimFee(id);
        vm.assertEq(address(oracle).balance, 0);
    }

    function test_items_togetherAndAgain() public {
        RequestId id = askBatch(ITEMS, NO_CALLBACK, 0, ITEMS * 1 ether);
        FaultDisputeGame game = survivor(id, ITEMS);
        uint256 before = PROPOSER.balance;
        // One that another account delivered just before stops none of the others, and is paid once.
        oracle.finalizeItems(id, game, one(given(1, ITEMS)));
        oracle.finalizeItems(id, game, all(ITEMS));
        oracle.finalizeItems(id, game, all(ITEMS));
        vm.assertEq(PROPOSER.balance - before, (ITEMS - 1) * 1 ether);
        vm.assertEq(oracle.requests(id).itemsLeft, 1);
    }

    function test_lastItem_completesTheBatch() public {
        RequestId id = askBatch(3, NO_CALLBACK, 0, 0);
        FaultDisputeGame game = survivor(id, 3);
        for (uint256 item = 0; item < 3; ++item) {
            vm.assertEq(address(oracle.requests(id).deliveredBy), address(0));
            oracle.finalizeItems(id, game, one(given(item, 3)));
        }
        vm.assertEq(address(oracle.requests(id).deliveredBy), address(game));
    }

    function testFuzz_items_onlyWithTheirOwnProof(uint256 count, uint256 item, uint256 spoiled, bytes32 other) public {
        vm.assume(other != 0);
        count = bound(count, 2, 20);
        item = bound(item, 0, count - 1);
        RequestId id = askBatch(count, NO_CALLBACK, 0, 0);
        FaultDisputeGame game = survivor(id, count);
        ItemOutput memory output = given(item, count);
        spoiled = bound(spoiled, 0, 5);
        if (spoiled == 0) output.output[uint256(other) % OUTPUT_BYTES] ^= 0x01;
        // Changed, not replaced: the fuzzer knows the true roots as well.
        if (spoiled == 1) output.inputRoot = InputRoot.wrap(InputRoot.unwrap(output.inputRoot) ^ other);
        if (spoiled == 2) output.arenaRoot = ArenaRoot.wrap(ArenaRoot.unwrap(output.arenaRoot) ^ other);
        if (spoiled == 3) output.siblings[uint256(other) % output.siblings.length] ^= bytes32(uint256(1));
        if (spoiled == 4) output.item = (item + 1 + uint256(other) % (count - 1)) % count;
        bool isRight = spoiled == 5 && item != FAILED;
        if (!isRight) vm.expectPartialRevert(IInferenceOracle.StateRootMismatch.selector);
        oracle.finalizeItems(id, game, one(output));
        bytes32 expected = isRight ? OutputRoot.unwrap(this.outputRootOf(outputOf(item))) : bytes32(0);
        vm.assertEq(itemRoot(id, item), expected);
    }

    function test_refusals() public {
        RequestId id = askBatch(ITEMS, NO_CALLBACK, 0, 0);
        RequestId single = ask(NO_CALLBACK, 0, 0);
        FaultDisputeGame game = survivor(id, ITEMS);
        ItemOutput memory output = given(0, ITEMS);

        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.WrongKindOfRequest.selector, single, 1));
        oracle.finalizeItems(single, game, one(output));
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.WrongKindOfRequest.selector, id, ITEMS));
        oracle.finalize(id, game, output.output, output.arenaRoot);
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.WrongKindOfRequest.selector, id, ITEMS));
        oracle.finalRoot(id, output.output, output.arenaRoot);

        output.item = ITEMS;
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.UnknownItem.selector, ITEMS, ITEMS));
        oracle.finalizeItems(id, game, one(output));
        output.item = 0;
        output.siblings = new bytes32[](2);
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.UnknownItem.selector, 0, ITEMS));
        oracle.finalizeItems(id, game, one(output));
        output = given(0, ITEMS);
        output.output = new bytes(OUTPUT_BYTES - 1);
        vm.expectRevert(
            abi.encodeWithSelector(IInferenceOracle.OutputSizeMismatch.selector, OUTPUT_BYTES - 1, OUTPUT_BYTES)
        );
        oracle.finalizeItems(id, game, one(output));

        FaultDisputeGame undecided = propose(askBatch(ITEMS, NO_CALLBACK, 0, 0), rootOf(ITEMS));
        RequestId asked = undecided.requestId();
        ItemOutput[] memory right = one(given(0, ITEMS));
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.GameNotValid.selector, undecided));
        oracle.finalizeItems(asked, undecided, right);
        vm.expectRevert(abi.encodeWithSelector(IInferenceOracle.GameForOtherRequest.selector, id, asked));
        oracle.finalizeItems(asked, game, right);
    }

    /// @notice Each delivery adds to the defenders' share, up to the same bound together; who was paid between is paid the rest.
    function test_sharesOfItemsAddUp() public {
        IDefenderShares shares = oracle.defenderShares();
        RequestTerms memory shared = RequestTerms(NO_CALLBACK, 0, false, 0, 5_000);
        uint256 item = 0.008 ether;
        vm.prank(REQUESTER);
        RequestId id = oracle.requestBatch{value: ITEMS * item}(modelId, imagesOf(ITEMS), ITEMS, shared);
        FaultDisputeGame game = propose(id, rootOf(ITEMS));
        uint256 bond = game.getRequiredBond(Position.wrap(2));
        vm.prank(CHALLENGER);
        game.attack{value: bond}(rootOf(ITEMS), 0, Claim.wrap("a lie"));
        game.attack{value: game.getRequiredBond(Position.wrap(4))}(Claim.wrap("a lie"), 1, Claim.wrap("the truth"));
        survive(game);
        uint256 room = bond * FORFEITED_BPS / 10_000 / 2;
        vm.assertTrue(room > item && room < 2 * item);

        uint256[] memory countered = new uint256[](1);
        countered[0] = 1;
        address me = address(this);
        uint256 before = PROPOSER.balance;
        oracle.finalizeItems(id, game, one(given(0, ITEMS)));
        vm.assertEq(PROPOSER.balance - before, item / 2);
        vm.assertEq(shares.pay(game, me, countered), item / 2);
        for (uint256 i = 1; i < ITEMS; ++i) {
            if (i != FAILED) oracle.finalizeItems(id, game, one(given(i, ITEMS)));
        }
        vm.assertEq(PROPOSER.balance - before, (ITEMS - 1) * item - room);
        vm.assertEq(shares.pay(game, me, new uint256[](0)), room - item / 2);
        vm.assertEq(address(shares).balance, 0);
        (uint128 forfeited, uint128 paid) = shares.creditOf(game, me);
        vm.assertEq(forfeited, game.totalForfeited());
        vm.assertEq(paid, room);
    }

    receive() external payable {}

    function test_consumer_isCalledForEachItem() public {
        GoodConsumer consumer = new GoodConsumer();
        RequestId id = askBatch(ITEMS, address(consumer), 200_000, 0);
        FaultDisputeGame game = survivor(id, ITEMS);
        for (uint256 item = 0; item < 2; ++item) {
            oracle.finalizeItems(id, game, one(given(item, ITEMS)));
            RequestId told = oracle.itemRequestId(id, item);
            vm.assertEq(told.raw(), keccak256(abi.encode(id, item)));
            vm.assertEq(consumer.requestId().raw(), told.raw());
            vm.assertEq(keccak256(consumer.output()), keccak256(outputOf(item)));
        }
    }

    /// @notice What a batch promises its consumer holds for each item, whatever gas the caller brings.
    function test_consumer_getsItsGasForEachItem() public {
        GoodConsumer consumer = new GoodConsumer();
        RequestId id = askBatch(ITEMS, address(consumer), 1_000_000, 0);
        FaultDisputeGame game = survivor(id, ITEMS);
        ItemOutput[] memory outputs = all(ITEMS);
        vm.expectPartialRevert(IInferenceOracle.CallbackGasShort.selector);
        oracle.finalizeItems{gas: 1_100_000}(id, game, outputs);
    }
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {OracleFixture} from "./helpers/OracleFixture.sol";
import {FaultDisputeGame} from "../../src/dispute/FaultDisputeGame.sol";
import {DigitReader} from "../../src/examples/DigitReader.sol";
import {RequestId} from "../../src/dispute/RequestId.sol";
import {ArenaRoot} from "../../src/oracle/SectionRoot.sol";

/// @notice The example consumer, from the question to the answer.
contract DigitReaderTest is OracleFixture {
    DigitReader internal reader;

    // binary32
    uint32 internal constant ONE = 0x3f800000;
    uint32 internal constant TWO = 0x40000000;
    uint32 internal constant MINUS_ONE = 0xbf800000;
    uint32 internal constant MINUS_TWO = 0xc0000000;
    uint32 internal constant MINUS_ZERO = 0x80000000;
    uint32 internal constant INFINITY = 0x7f800000;

    function setUp() public override {
        super.setUp();
        reader = new DigitReader(oracle, modelId);
    }

    function scores(uint32[10] memory bits) internal pure returns (bytes memory packed) {
        for (uint256 i = 0; i < 10; ++i) {
            packed = abi.encodePacked(packed, bits[i]);
        }
    }

    function test_read_storesTheLargestScoresDigit() public {
        output = scores([MINUS_ONE, ONE, 0, TWO, ONE, MINUS_TWO, 0, 0, 0, 0]);
        RequestId id = reader.read{value: 1 ether}(input);
        vm.expectRevert(abi.encodeWithSelector(DigitReader.NotRead.selector, id));
        reader.digitOf(id);
        FaultDisputeGame game = proposeTruth(id);
        survive(game);
        vm.expectEmit(address(reader));
        emit DigitReader.DigitRead(id, 3);
        oracle.finalize(id, game, output, ArenaRoot.wrap(ARENA));
        vm.assertEq(reader.digitOf(id), 3);
    }

    function test_argmax() public view {
        vm.assertEq(reader.argmax(scores([uint32(0), 0, 0, 0, 0, 0, 0, 0, 0, 0])), 0);
        vm.assertEq(reader.argmax(scores([MINUS_ZERO, 0, 0, 0, 0, 0, 0, 0, 0, 0])), 0);
        vm.assertEq(
            reader.argmax(
                scores(
                    [
                        MINUS_TWO,
                        MINUS_ONE,
                        MINUS_TWO,
                        MINUS_TWO,
                        MINUS_TWO,
                        MINUS_TWO,
                        MINUS_TWO,
                        MINUS_TWO,
                        MINUS_TWO,
                        MINUS_TWO
                    ]
                )
            ),
            1
        );
        vm.assertEq(reader.argmax(scores([MINUS_ONE, MINUS_TWO, 0, 1, MINUS_ZERO, 0, 0, 0, 0, 0])), 3);
        vm.assertEq(reader.argmax(scores([ONE, TWO, TWO, ONE, 0, 0, 0, 0, 0, INFINITY])), 9);
    }

    function test_onInference_refusals() public {
        vm.expectRevert(abi.encodeWithSelector(DigitReader.NotOracle.selector, address(this), address(oracle)));
        reader.onInference(RequestId.wrap("id"), modelId, new bytes(40));
        vm.startPrank(address(oracle));
        vm.expectRevert(abi.encodeWithSelector(DigitReader.NotMyRequest.selector, bytes32("id")));
        reader.onInference(RequestId.wrap("id"), modelId, new bytes(40));
        vm.stopPrank();
        RequestId id = reader.read(input);
        vm.prank(address(oracle));
        vm.expectRevert(abi.encodeWithSelector(DigitReader.NotTenScores.selector, 39));
        reader.onInference(id, modelId, new bytes(39));
    }

    /// @notice Another requester's request with this consumer as its callback changes nothing here.
    function test_foreignRequest_isIgnored() public {
        RequestId id = ask(address(reader), 100_000, 0);
        FaultDisputeGame game = proposeTruth(id);
        survive(game);
        oracle.finalize(id, game, output, ArenaRoot.wrap(ARENA));
        vm.expectRevert(abi.encodeWithSelector(DigitReader.NotRead.selector, id));
        reader.digitOf(id);
    }

    function test_reclaim_goesToWhoAsked() public {
        vm.prank(REQUESTER);
        RequestId id = reader.read{value: 1 ether}(input);
        skip(RECLAIM_DELAY);
        uint256 before = REQUESTER.balance;
        reader.reclaim(id);
        vm.assertEq(REQUESTER.balance, before + 1 ether);
        vm.assertEq(address(reader).balance, 0);
    }
}

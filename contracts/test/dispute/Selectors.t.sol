// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Test, Vm} from "../Test.sol";
// These three are read as artifacts; importing them makes sure that they are compiled.
import {DelayedWETH} from "../../src/dispute/DelayedWETH.sol";
import {FaultDisputeGame} from "../../src/dispute/FaultDisputeGame.sol";
import {InferenceOracle} from "../../src/oracle/InferenceOracle.sol";
import {DisputeGameFactory} from "../../src/dispute/DisputeGameFactory.sol";
import "../../src/dispute/Errors.sol";
import {IDisputeGame} from "../../src/dispute/interfaces/IDisputeGame.sol";
import {IDisputeGameFactory} from "../../src/dispute/interfaces/IDisputeGameFactory.sol";
import {IFaultDisputeGame} from "../../src/dispute/interfaces/IFaultDisputeGame.sol";
import {IFpvm, ILocalPreimageOracle} from "../../src/dispute/interfaces/IFpvm.sol";
import {IInferenceOracle} from "../../src/oracle/interfaces/IInferenceOracle.sol";

/// @notice What existing clients know contracts by. The numbers are written down here, not computed.
contract SelectorsTest is Test {
    /// @dev Whether the contract's dispatcher knows the selector: its code has PUSH4 selector, EQ.
    function assertAnswers(bytes memory code, bytes4[] memory selectors) internal pure {
        for (uint256 i = 0; i < selectors.length; ++i) {
            vm.assertTrue(contains(code, selectors[i]), vm.toString(bytes32(selectors[i])));
        }
    }

    /// @dev PUSH4 selector, or PUSH3 if it starts with a zero byte.
    function contains(bytes memory code, bytes4 selector) internal pure returns (bool) {
        bool isShort = selector[0] == 0;
        bytes memory push =
            isShort ? abi.encodePacked(hex"62", bytes3(selector << 8)) : abi.encodePacked(hex"63", selector);
        bytes32 wanted = bytes32(push);
        uint256 keep = ~(type(uint256).max >> (8 * push.length));
        for (uint256 at = 0; at + push.length <= code.length; ++at) {
            bytes32 word;
            assembly ("memory-safe") {
                word := mload(add(add(code, 0x20), at))
            }
            if (uint256(word) & keep == uint256(wanted)) return true;
        }
        return false;
    }

    function unpack(bytes memory packed) internal pure returns (bytes4[] memory list) {
        vm.assertEq(packed.length % 4, 0);
        list = new bytes4[](packed.length / 4);
        for (uint256 i = 0; i < list.length; ++i) {
            list[i] = bytes4(bytes.concat(packed[4 * i], packed[4 * i + 1], packed[4 * i + 2], packed[4 * i + 3]));
        }
    }

    function test_contains_canFail() public pure {
        vm.assertTrue(contains(hex"00635b34f966", 0x5b34f966));
        vm.assertFalse(contains(hex"00645b34f966", 0x5b34f966));
    }

    function test_game() public view {
        bytes memory code = vm.getDeployedCode("FaultDisputeGame.sol:FaultDisputeGame");
        // What clients call.
        assertAnswers(
            code,
            unpack(
                hex"bbdc02db54fd4d506361506d8b85902bbcef3b55200d2ed28980e0ccc6f0308cdabd396d3e3ac91230dbe570fa315aa9ec5e630870872aa519effeb4fe2bbeb23fc8cef3d5d44d80378dd48cc395e1ca472777c67b0f0adc2810e1d603c2924d25fc2ace8d450a953a7684636b6716c060e27464786b844bf8f43ff6d8cc1a3c99735e3259cebe09"
            )
        );
        // The rest of the published interface.
        assertAnswers(
            code,
            unpack(
                hex"8129fc1c6f034409cf09e0d037b1b229609d3334fa24f7435e234947d6ae3cd557da950e5c0cba33250e69bdbd8da9565a5fa2d9a445ece62ad69aebeff0f592529d6a8cc0d8bb74222abf45"
            )
        );
        // There is no block number challenge, and there are no permissions.
        vm.assertFalse(contains(code, 0x01935130));
        vm.assertFalse(contains(code, 0xa8e4fb90));
    }

    function test_factory() public view {
        assertAnswers(
            vm.getDeployedCode("DisputeGameFactory.sol:DisputeGameFactory"),
            unpack(
                hex"54fd4d504d1975b4bb8aa1fc1b685b9e74cc86ac6593dc6e82ecf2f65f0150cb96cd9720254bd68314f6b1a3b10709571e3342408da5cb5b"
            )
        );
    }

    function test_delayedWETH() public view {
        assertAnswers(
            vm.getDeployedCode("DelayedWETH.sol:DelayedWETH"),
            unpack(hex"6a42b8f8cd47bde1d0e30db07eee288df3fef3a32e1a7d4d70a08231a7e21e80977a5ec5")
        );
        // Nothing takes ether out that is not one account's: there is no `recover(uint256)`.
        vm.assertFalse(contains(vm.getDeployedCode("DelayedWETH.sol:DelayedWETH"), 0x0ca35682));
    }

    /// @notice The oracle answers what games and tools ask an anchor state registry; the anchor is the newest game recorded.
    function test_registry() public view {
        assertAnswers(
            vm.getDeployedCode("InferenceOracle.sol:InferenceOracle"),
            unpack(
                hex"3c9f397c5c975abb0314d2b3496b9c1617cf21a9ee658e4504e50fed34a346ea5958a193fdbb3dcf6c4f44677fc485047d6be8dcd5a3e12e4086d183952b279745884d32d83ef267e0a840eb"
            )
        );
    }

    function test_vmInterface() public pure {
        vm.assertEq(bytes32(IFpvm.step.selector), bytes32(bytes4(0xe14ced32)));
        vm.assertEq(bytes32(IFpvm.oracle.selector), bytes32(bytes4(0x7dc0d1d0)));
        vm.assertEq(bytes32(ILocalPreimageOracle.loadLocalData.selector), bytes32(bytes4(0x52f0f3ad)));
        vm.assertEq(bytes32(ILocalPreimageOracle.challengePeriod.selector), bytes32(bytes4(0xf3f480d9)));
    }

    function test_versions() public {
        vm.assertEq(new DisputeGameFactory(address(this)).version(), "1.6.1");
    }

    function assertSelector(bytes4 actual, uint32 published) internal pure {
        vm.assertEq(bytes32(actual), bytes32(bytes4(published)));
    }

    function test_errors() public pure {
        assertSelector(AlreadyInitialized.selector, 0x0dc149f0);
        assertSelector(AnchorRootNotFound.selector, 0x6a6bc3b2);
        assertSelector(BadExtraData.selector, 0x9824bdab);
        assertSelector(InvalidChallengePeriod.selector, 0xb4e12433);
        assertSelector(InvalidClockExtension.selector, 0x8d77ecac);
        assertSelector(InvalidSplitDepth.selector, 0xe62ccf39);
        assertSelector(MaxDepthTooLarge.selector, 0x77dfe332);
        assertSelector(UnexpectedRootClaim.selector, 0xf40239db);
        assertSelector(GameNotInProgress.selector, 0x67fe1950);
        assertSelector(InvalidDisputedClaimIndex.selector, 0x30140332);
        assertSelector(CannotDefendRootClaim.selector, 0xa42637bc);
        assertSelector(GameDepthExceeded.selector, 0x56f57b2b);
        assertSelector(IncorrectBondAmount.selector, 0x8620aa19);
        assertSelector(ClockTimeExceeded.selector, 0x3381d114);
        assertSelector(ClaimAlreadyExists.selector, 0x80497e3b);
        assertSelector(InvalidParent.selector, 0x5f53dd98);
        assertSelector(InvalidPrestate.selector, 0x696550ff);
        assertSelector(ValidStep.selector, 0xfb4e40dd);
        assertSelector(DuplicateStep.selector, 0x9071e6af);
        assertSelector(ClaimAboveSplit.selector, 0xb34b5c22);
        assertSelector(InvalidLocalIdent.selector, 0xff137e65);
        assertSelector(ClockNotExpired.selector, 0xf2440b53);
        assertSelector(ClaimAlreadyResolved.selector, 0xf1a94581);
        assertSelector(OutOfOrderResolution.selector, 0x9a076646);
        assertSelector(GamePaused.selector, 0x379a7ed9);
        assertSelector(GameNotResolved.selector, 0xc105260a);
        assertSelector(GameNotFinalized.selector, 0x4851bd9b);
        assertSelector(NoCreditToClaim.selector, 0x17bfe5f7);
        assertSelector(BondTransferFailed.selector, 0x83e6cc6b);
        assertSelector(UnknownChainId.selector, 0x0da789df);
        assertSelector(NoImplementation.selector, 0x031c6de4);
        assertSelector(GameAlreadyExists.selector, 0x014f6fe5);
        assertSelector(IInferenceOracle.AnchorStateRegistry_InvalidAnchorGame.selector, 0x47ad367a);
        assertSelector(IInferenceOracle.AnchorStateRegistry_Unauthorized.selector, 0x2e5321ac);
    }

    function test_events() public pure {
        vm.assertEq(IFaultDisputeGame.Move.selector, 0x9b3245740ec3b155098a55be84957a4da13eaf7f14a8bc6f53126c0b9350f2be);
        vm.assertEq(IDisputeGame.Resolved.selector, 0x5e186f09b9c93491f14e277eea7faa5de6a2d4bda75a79af7a3684fbfb42da60);
        vm.assertEq(
            IFaultDisputeGame.GameClosed.selector, 0x9908eaac0645df9d0704d06adc9e07337c951de2f06b5f2836151d48d5e4722f
        );
        vm.assertEq(
            IDisputeGameFactory.DisputeGameCreated.selector,
            0x5b565efe82411da98814f356d0e7bcb8f0219b8d970307c5afb4a6903a8b2e35
        );
        vm.assertEq(
            IDisputeGameFactory.ImplementationSet.selector,
            0xff513d80e2c7fa487608f70a618dfbc0cf415699dc69588c747e8c71566c88de
        );
        vm.assertEq(
            IDisputeGameFactory.ImplementationArgsSet.selector,
            0xa47fcdf075d680d3817bfca7973b373e1a5f6cfc3b444748299cc2b83d8348f9
        );
        vm.assertEq(
            IDisputeGameFactory.InitBondUpdated.selector,
            0x74d6665c4b26d5596a5aa13d3014e0c06af4d322075a797f87b03cd4c5bc91ca
        );
        vm.assertEq(
            IInferenceOracle.AnchorUpdated.selector, 0x474f180d74ea8751955ee261c93ff8270411b180408d1014c49f552c92a4d11e
        );
        vm.assertEq(
            IInferenceOracle.RespectedGameTypeSet.selector,
            0xcee0703b5e4bad4efededab85c9fd1aec17dee7c5f6c584330e0509b677745a2
        );
        vm.assertEq(
            IInferenceOracle.RetirementTimestampSet.selector,
            0x6e5b1ba771e8e484f741ed085f039ff4e5c6e882eaf68f550fb390922d0ae4a7
        );
        vm.assertEq(
            IInferenceOracle.DisputeGameBlacklisted.selector,
            0x192c289026d59a41a27f5aea08f3969b57931b0589202d14f4368cded95d3cda
        );
    }

    /// @notice Indexed fields are part of what clients decode.
    function test_logs_haveTheIndexedFieldsClientsExpect() public {
        DisputeGameFactory factory = new DisputeGameFactory(address(this));
        vm.recordLogs();
        factory.setImplementation(1, IDisputeGame(address(2)), "x");
        factory.setInitBond(1, 3);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs[0].topics.length, 3);
        vm.assertEq(logs[1].topics.length, 2);
        vm.assertEq(logs[2].topics.length, 3);
    }
}

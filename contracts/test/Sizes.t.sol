// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Test} from "./Test.sol";
// Read as artifacts; importing them makes sure that they are compiled.
import {DelayedWETH} from "../src/dispute/DelayedWETH.sol";
import {DisputeGameFactory} from "../src/dispute/DisputeGameFactory.sol";
import {FaultDisputeGame} from "../src/dispute/FaultDisputeGame.sol";
import {DigitReader} from "../src/examples/DigitReader.sol";
import {ValueReader} from "../src/examples/ValueReader.sol";
import {Timelock} from "../src/governance/Timelock.sol";
import {DefenderShares} from "../src/oracle/DefenderShares.sol";
import {InferenceOracle} from "../src/oracle/InferenceOracle.sol";
import {InputBlobs} from "../src/oracle/InputBlobs.sol";
import {InputParts} from "../src/oracle/InputParts.sol";
import {ModelRegistry} from "../src/oracle/ModelRegistry.sol";
import {ProposerBonds} from "../src/oracle/ProposerBonds.sol";
import {SegmentRoots} from "../src/oracle/SegmentRoots.sol";
import {FPVM} from "../src/vm/FPVM.sol";
import {PreimageOracle} from "../src/vm/PreimageOracle.sol";

/// @notice Every contract can be deployed on a real chain. Sizes are on record in snapshots/sizes.json.
contract SizesTest is Test {
    /// @dev EIP-170, and EIP-3860 for the code that makes a contract.
    uint256 internal constant CODE_LIMIT = 24_576;
    uint256 internal constant INIT_CODE_LIMIT = 49_152;

    function test_sizes() public {
        string[15] memory names = [
            "DefenderShares",
            "DelayedWETH",
            "DigitReader",
            "DisputeGameFactory",
            "FPVM",
            "FaultDisputeGame",
            "InferenceOracle",
            "InputBlobs",
            "InputParts",
            "ModelRegistry",
            "PreimageOracle",
            "ProposerBonds",
            "SegmentRoots",
            "Timelock",
            "ValueReader"
        ];
        for (uint256 i = 0; i < names.length; ++i) {
            string memory artifact = string.concat(names[i], ".sol:", names[i]);
            uint256 size = vm.getDeployedCode(artifact).length;
            vm.assertGt(size, 0, names[i]);
            vm.assertLt(size, CODE_LIMIT, names[i]);
            vm.assertLt(vm.getCode(artifact).length, INIT_CODE_LIMIT, names[i]);
            vm.snapshotValue("sizes", names[i], size);
        }
    }
}

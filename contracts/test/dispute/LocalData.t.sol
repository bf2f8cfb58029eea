// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {GameFixture} from "./helpers/GameFixture.sol";
import {FPVM} from "../../src/vm/FPVM.sol";
import {PreimageOracle} from "../../src/vm/PreimageOracle.sol";
import {StateDataLength} from "../../src/vm/VmErrors.sol";
import {LocalContext} from "../../src/vm/LocalContext.sol";
import {PreimageKey} from "../../src/vm/PreimageKey.sol";
import {Claim} from "../../src/dispute/Claim.sol";

/// @notice The game with the real VM and its oracle: the game's local data arrive under the keys that the VM looks up.
contract LocalDataTest is GameFixture {
    PreimageOracle internal preimages;
    FPVM internal fpvm;

    function setUp() public override {
        super.setUp();
        preimages = new PreimageOracle(0, CHALLENGE_PERIOD);
        fpvm = new FPVM(preimages, 136);
        vm.prank(OWNER);
        factory.setImplementation(
            CANNON,
            implementation,
            abi.encodePacked(prestate, address(fpvm), address(registry), address(weth), CHAIN_ID)
        );
    }

    function key(uint256 ident, LocalContext context) internal view returns (PreimageKey) {
        bytes32 hash = keccak256(abi.encode(uint256(1) << 248 | ident, address(game), context));
        return PreimageKey.wrap(withStatus(Claim.wrap(hash), 1).raw());
    }

    function test_localData_reachTheRealOracle() public {
        propose(lie(0));
        vm.assertEq(address(game.vm().oracle()), address(preimages));
        uint256 execRoot = attackDownTo(S + 1);
        LocalContext context = LocalContext.wrap(keccak256(abi.encode(lie(S), uint256(16))));
        for (uint256 ident = 2; ident <= 5; ++ident) {
            game.addLocalData(ident, execRoot, 0);
            game.addLocalData(ident, execRoot, 8);
        }
        (bytes32 part, uint256 length) = preimages.readPreimage(key(2, context), 8);
        vm.assertEq(part, alphabet.truth(0).raw());
        vm.assertEq(length, 32);
        (part,) = preimages.readPreimage(key(3, context), 8);
        vm.assertEq(part, lie(S).raw());
        (part, length) = preimages.readPreimage(key(4, context), 0);
        vm.assertEq(part, hex"00000000000000080000000000000001");
        vm.assertEq(length, 16);
        (part, length) = preimages.readPreimage(key(4, context), 8);
        vm.assertEq(part, hex"0000000000000001");
        vm.assertEq(length, 8);
        (part,) = preimages.readPreimage(key(5, context), 8);
        vm.assertEq(part, bytes32(bytes8(uint64(CHAIN_ID))));
    }

    /// @notice The real VM refuses a witness that is none, for its own reason.
    function test_step_meetsTheRealVm() public {
        propose(lie(0));
        bytes memory noState = new bytes(10);
        vm.prank(OWNER);
        factory.setImplementation(
            CANNON,
            implementation,
            abi.encodePacked(keccak256(noState), address(fpvm), address(registry), address(weth), CHAIN_ID)
        );
        propose(lie(1));
        uint256 leaf = attackDownTo(D);
        vm.expectRevert(abi.encodeWithSelector(StateDataLength.selector, 10, 188));
        game.step(leaf, true, noState, "");
    }
}

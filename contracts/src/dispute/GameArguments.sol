// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {CWIA} from "solady/utils/legacy/CWIA.sol";
import {UnknownChainId} from "./Errors.sol";
import {IDelayedWETH} from "./interfaces/IDelayedWETH.sol";
import {IFaultDisputeGame} from "./interfaces/IFaultDisputeGame.sol";
import {IFpvm} from "./interfaces/IFpvm.sol";
import {IGameRegistry} from "./interfaces/IGameRegistry.sol";

/// @title What a game is told when it is made, and answers ever after
/// @notice A game is a clone; its arguments stand in its code and are appended to every call's data:
///
///             0 creator (20 bytes)      84 game type (4)              152 VM (20)
///            20 root claim (32)         88 extra data: request id (32) 172 registry (20)
///            52 L1 head (32)           120 absolute prestate (32)     192 WETH (20)
///                                                                     212 chain id (32)
///
///         The first 88 bytes and the extra data come from the factory's caller and the chain, the rest, 124 bytes, from
///         the game type's arguments at the factory.
/// @dev Source: docs/game.md, "Clones".
abstract contract GameArguments is CWIA, IFaultDisputeGame {
    /// @dev Length of the arguments.
    uint256 internal constant ARGUMENTS_BYTES = 244;

    /// @dev Calldata of `initialize()` on a clone: selector, arguments, and their length with its own two bytes.
    uint256 internal constant INITIALIZE_CALLDATA_BYTES = 4 + ARGUMENTS_BYTES + 2;

    function gameCreator() public pure returns (address) {
        return _getArgAddress(0);
    }

    function rootClaim() public pure returns (bytes32) {
        return _getArgBytes32(20);
    }

    function l1Head() public pure returns (bytes32) {
        return _getArgBytes32(52);
    }

    function gameType() public pure returns (uint32) {
        return _getArgUint32(84);
    }

    function requestId() public pure returns (bytes32) {
        return _getArgBytes32(88);
    }

    function extraData() public pure returns (bytes memory) {
        return _getArgBytes(88, 32);
    }

    function absolutePrestate() public pure returns (bytes32) {
        return _getArgBytes32(120);
    }

    function vm() public pure returns (IFpvm) {
        return IFpvm(_getArgAddress(152));
    }

    function anchorStateRegistry() public pure returns (IGameRegistry) {
        return IGameRegistry(_getArgAddress(172));
    }

    function weth() public pure returns (IDelayedWETH) {
        return IDelayedWETH(payable(_getArgAddress(192)));
    }

    function l2ChainId() public pure returns (uint256) {
        return _getArgUint256(212);
    }

    function gameData() external pure returns (uint32 gameType_, bytes32 rootClaim_, bytes memory extraData_) {
        return (gameType(), rootClaim(), extraData());
    }

    function rootClaimByChainId(uint256 chainId) external pure returns (bytes32) {
        if (chainId != l2ChainId()) revert UnknownChainId();
        return rootClaim();
    }
}

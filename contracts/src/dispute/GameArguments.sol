// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {CWIA} from "solady/utils/legacy/CWIA.sol";
import {StateHash} from "../vm/StateHash.sol";
import {Claim} from "./Claim.sol";
import {UnknownChainId} from "./Errors.sol";
import {RequestId} from "./RequestId.sol";
import {IDelayedWETH} from "./interfaces/IDelayedWETH.sol";
import {IFaultDisputeGame} from "./interfaces/IFaultDisputeGame.sol";
import {IFpvm} from "./interfaces/IFpvm.sol";
import {IGameRegistry} from "./interfaces/IGameRegistry.sol";

/// @title The arguments of a game, fixed at its creation
/// @notice A game is a clone; its arguments stand in its code and are appended to every call's data. From the first byte:
///
///             0 creator (20 bytes)      52 L1 head (32)        88 extra data: request id (32)
///            20 root claim (32)         84 game type (4)      120 extra data: nonce (32), unless it is 0
///
///         The last 124 bytes are the game type's arguments at the factory; the others come from the factory's caller and
///         the chain. Counted from the first of the 124:
///
///             0 absolute prestate (32)  52 registry (20)       92 chain id (32)
///            32 VM (20)                 72 WETH (20)
///
/// @dev Source: docs/game.md, "Clones".
abstract contract GameArguments is CWIA, IFaultDisputeGame {
    uint256 private constant CREATOR_AT = 0;
    uint256 private constant ROOT_CLAIM_AT = 20;
    uint256 private constant L1_HEAD_AT = 52;
    uint256 private constant GAME_TYPE_AT = 84;
    uint256 private constant REQUEST_ID_AT = 88;
    uint256 private constant NONCE_AT = 120;
    uint256 private constant WORD_BYTES = 32;
    uint256 private constant TYPE_ARGUMENTS_BYTES = 124;

    // Counted from the first of the type's arguments, where the absolute prestate is.
    uint256 private constant VM_AT = 32;
    uint256 private constant REGISTRY_AT = 52;
    uint256 private constant WETH_AT = 72;
    uint256 private constant CHAIN_ID_AT = 92;

    /// @dev Calldata of `initialize()` on a clone, but for the arguments: selector, and the length of the arguments.
    uint256 private constant OTHER_CALLDATA_BYTES = 4 + 2;
    uint256 private constant BYTES_WITHOUT_NONCE = REQUEST_ID_AT + WORD_BYTES + TYPE_ARGUMENTS_BYTES;
    uint256 private constant BYTES_WITH_NONCE = BYTES_WITHOUT_NONCE + WORD_BYTES;

    function gameCreator() public pure returns (address) {
        return _getArgAddress(CREATOR_AT);
    }

    function rootClaim() public pure returns (Claim) {
        return Claim.wrap(_getArgBytes32(ROOT_CLAIM_AT));
    }

    function l1Head() public pure returns (bytes32) {
        return _getArgBytes32(L1_HEAD_AT);
    }

    function gameType() public pure returns (uint32) {
        return _getArgUint32(GAME_TYPE_AT);
    }

    function requestId() public pure returns (RequestId) {
        return RequestId.wrap(_getArgBytes32(REQUEST_ID_AT));
    }

    function proposalNonce() public pure returns (bytes32) {
        return _argumentsLength() == BYTES_WITH_NONCE ? _getArgBytes32(NONCE_AT) : bytes32(0);
    }

    function extraData() public pure returns (bytes memory) {
        return _getArgBytes(REQUEST_ID_AT, _typeArgumentsAt() - REQUEST_ID_AT);
    }

    function absolutePrestate() public pure returns (StateHash) {
        return StateHash.wrap(_getArgBytes32(_typeArgumentsAt()));
    }

    function vm() public pure returns (IFpvm) {
        return IFpvm(_getArgAddress(_typeArgumentsAt() + VM_AT));
    }

    function anchorStateRegistry() public pure returns (IGameRegistry) {
        return IGameRegistry(_getArgAddress(_typeArgumentsAt() + REGISTRY_AT));
    }

    function weth() public pure returns (IDelayedWETH) {
        return IDelayedWETH(payable(_getArgAddress(_typeArgumentsAt() + WETH_AT)));
    }

    function l2ChainId() public pure returns (uint256) {
        return _getArgUint256(_typeArgumentsAt() + CHAIN_ID_AT);
    }

    /// @dev In a call of `initialize()`: whether the extra data are in one of their two forms. Any other form would let
    ///      two games differ in bytes that no rule reads.
    function _isExtraDataCanonical() internal pure returns (bool) {
        uint256 length = msg.data.length;
        if (length == BYTES_WITHOUT_NONCE + OTHER_CALLDATA_BYTES) return true;
        return length == BYTES_WITH_NONCE + OTHER_CALLDATA_BYTES && proposalNonce() != bytes32(0);
    }

    /// @dev Where the game type's arguments start.
    function _typeArgumentsAt() private pure returns (uint256) {
        // ASSUMES: the arguments are long enough: `initialize`.
        unchecked {
            return _argumentsLength() - TYPE_ARGUMENTS_BYTES;
        }
    }

    /// @dev A clone appends its arguments and, in two bytes, their length with these two.
    function _argumentsLength() private pure returns (uint256 length) {
        assembly ("memory-safe") {
            length := sub(shr(240, calldataload(sub(calldatasize(), 2))), 2)
        }
    }

    function gameData() external pure returns (uint32 gameType_, Claim rootClaim_, bytes memory extraData_) {
        return (gameType(), rootClaim(), extraData());
    }

    function rootClaimByChainId(uint256 chainId) external pure returns (Claim) {
        if (chainId != l2ChainId()) revert UnknownChainId();
        return rootClaim();
    }
}

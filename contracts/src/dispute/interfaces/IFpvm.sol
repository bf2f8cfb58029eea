// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {LocalContext} from "../../vm/LocalContext.sol";
import {PreimageKey} from "../../vm/PreimageKey.sol";
import {StateHash} from "../../vm/StateHash.sol";

/// @title The interface of a pre-image oracle for a game
interface ILocalPreimageOracle {
    /// @notice Stores one 32-byte part of a pre-image that the caller itself fixes.
    /// @param ident Which of the caller's pre-images.
    /// @param localContext Which of the caller's contexts: a game gives one to each execution subgame.
    /// @param word The data, left-aligned.
    /// @param size How many bytes of `word` count, at most 32.
    /// @param partOffset Where the part starts in (length as 8 bytes big-endian) ++ data.
    /// @return key Under which the part can be read; depends on the caller too.
    function loadLocalData(uint256 ident, LocalContext localContext, bytes32 word, uint256 size, uint256 partOffset)
        external
        returns (PreimageKey key);

    /// @notice Seconds for which a large pre-image can be challenged before it can be used.
    function challengePeriod() external view returns (uint256);
}

/// @title The interface of a VM for a game: one instruction, executed by the chain
interface IFpvm {
    /// @notice Executes one instruction.
    /// @param stateData The encoded state before it.
    /// @param proof What the instruction reads, proven against that state.
    /// @param localContext Under which local pre-images are looked up, together with the caller's address.
    /// @return postState The hash of the state after it.
    function step(bytes calldata stateData, bytes calldata proof, LocalContext localContext)
        external
        returns (StateHash postState);

    /// @notice The oracle from which it reads pre-images.
    function oracle() external view returns (ILocalPreimageOracle);
}

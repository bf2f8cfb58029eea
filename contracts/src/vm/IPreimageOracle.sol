// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {LocalContext} from "./LocalContext.sol";
import {PreimageKey} from "./PreimageKey.sol";

/// @title IPreimageOracle
/// @notice Data known by its key, part by part; what the VM's system call `read` on descriptor 5 reads.
interface IPreimageOracle {
    /// @notice The part of an object that starts at `offset`; the object is its length (8 bytes), then the pre-image.
    /// @return data Up to 32 bytes, zeros behind the object's end.
    /// @return length How many of them belong to the object.
    /// @dev Reverts unless this very part was loaded.
    function readPreimage(PreimageKey key, uint256 offset) external view returns (bytes32 data, uint256 length);

    /// @notice Loads a part of up to 32 bytes that only the caller's own VM steps can read.
    /// @param ident The number of the local datum.
    /// @param context Salt of the key, equal to the `localContext` of the step.
    /// @param word The datum, left-aligned.
    /// @param size How many bytes of `word` count, at most 32.
    /// @param partOffset Where the part starts; below `size + 8`.
    function loadLocalData(uint256 ident, LocalContext context, bytes32 word, uint256 size, uint256 partOffset)
        external
        returns (PreimageKey key);

    /// @notice Loads the part at `partOffset` of the object whose pre-image, under Keccak-256, is `preimage`.
    function loadKeccak256PreimagePart(uint256 partOffset, bytes calldata preimage) external;

    /// @notice Loads the part at `partOffset` of the object whose pre-image, under SHA-256, is `preimage`.
    function loadSha256PreimagePart(uint256 partOffset, bytes calldata preimage) external;

    /// @notice Loads the part at `partOffset` of the object whose pre-image is the 32 bytes `y`: the value at the point `z` of
    /// the polynomial that `commitment` (EIP-4844, 48 bytes) commits to. The key is of keccak256(commitment ++ z).
    /// @param proof The KZG proof, 48 bytes.
    function loadBlobPreimagePart(
        uint256 z,
        uint256 y,
        bytes calldata commitment,
        bytes calldata proof,
        uint256 partOffset
    ) external;

    /// @notice Loads the part at `partOffset` of the object whose pre-image is what `precompile` answers to `input`: a byte 1
    /// if it succeeds and 0 if not, then what it returns. The key is of keccak256(precompile ++ requiredGas ++ input), packed.
    /// @param requiredGas How much gas the call must be given at least.
    function loadPrecompilePreimagePart(
        uint256 partOffset,
        address precompile,
        uint64 requiredGas,
        bytes calldata input
    ) external;

    /// @notice Whether the part was loaded.
    function preimagePartOk(PreimageKey key, uint256 partOffset) external view returns (bool);

    /// @notice The part's 32 bytes, zeros if it was not loaded.
    function preimageParts(PreimageKey key, uint256 partOffset) external view returns (bytes32);

    /// @notice Length in bytes of the pre-image itself, without the 8 bytes that stand before it; 0 if unknown.
    function preimageLengths(PreimageKey key) external view returns (uint256);
}

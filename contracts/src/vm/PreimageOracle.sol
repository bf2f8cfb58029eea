// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {LargePreimages} from "./preimages/LargePreimages.sol";

/// @title PreimageOracle
/// @notice The data that VM steps read from outside: local data, which a game fixes; and what anyone can load:
///      pre-images of hashes, evaluations of blobs, results of precompiles. A step reads one part of up to 32 bytes;
///      that part must have been loaded before, from a whole pre-image (`PreimageParts`) or by a proposal
///      (`LargePreimages`).
/// @dev Keys, parts, functions, errors and logs are those of the OP Stack's oracle 1.1.5.
contract PreimageOracle is LargePreimages {
    constructor(uint256 minProposalSize_, uint256 challengePeriod_)
        LargePreimages(minProposalSize_, challengePeriod_)
    {}

    /// @notice Tells clients which ABI to speak.
    function version() external pure returns (string memory) {
        return "1.1.5";
    }
}

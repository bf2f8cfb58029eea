// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {StateHash} from "../vm/StateHash.sol";
import {StateRoot} from "./StateRoot.sol";

/// @notice The 32 bytes that a claim asserts: a state root down to the split depth, a state hash below it. Which of the two
///         follows from the claim's position, so reading it as one of them is an act of its own.
/// @dev Source: docs/game.md, "What claims assert".
type Claim is bytes32;

using {raw, equals as ==, differs as !=, asStateRoot, asStateHash} for Claim global;

/// @notice The 32 bytes.
function raw(Claim claim) pure returns (bytes32) {
    return Claim.unwrap(claim);
}

function equals(Claim claim, Claim other) pure returns (bool) {
    return Claim.unwrap(claim) == Claim.unwrap(other);
}

function differs(Claim claim, Claim other) pure returns (bool) {
    return Claim.unwrap(claim) != Claim.unwrap(other);
}

/// @notice A claim that asserts a state root.
function claimOf(StateRoot root) pure returns (Claim) {
    return Claim.wrap(StateRoot.unwrap(root));
}

/// @notice What a claim at or above the split depth asserts.
function asStateRoot(Claim claim) pure returns (StateRoot) {
    return StateRoot.wrap(Claim.unwrap(claim));
}

/// @notice What a claim below the split depth asserts.
function asStateHash(Claim claim) pure returns (StateHash) {
    return StateHash.wrap(Claim.unwrap(claim));
}

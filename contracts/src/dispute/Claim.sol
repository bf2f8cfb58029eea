// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {StateHash} from "../vm/StateHash.sol";
import {StateRoot} from "./StateRoot.sol";

/// @notice The 32 bytes that a claim asserts: a state root down to the split depth, a state hash below it. The claim's
///      position decides which of the two it is, so it is converted explicitly.
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

/// @notice The state root that a claim at or above the split depth asserts.
function asStateRoot(Claim claim) pure returns (StateRoot) {
    return StateRoot.wrap(Claim.unwrap(claim));
}

/// @notice The state hash that a claim below the split depth asserts.
function asStateHash(Claim claim) pure returns (StateHash) {
    return StateHash.wrap(Claim.unwrap(claim));
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {LibBit} from "solady/utils/LibBit.sol";
import {ClaimAboveSplit} from "./Errors.sol";

/// @notice A place in the game tree, as its generalized index: 2^depth + indexAtDepth. The root is 1.
/// @dev Source: docs/game.md, "Positions". A game's depths end at MAX_POSITION_DEPTH, so every position, and every child of one, fits.
type Position is uint128;

using {
    raw,
    depth,
    indexAtDepth,
    parent,
    move,
    attack,
    defend,
    rightIndex,
    traceIndex,
    traceAncestor,
    traceAncestorBounded
} for Position global;

/// @dev The deepest that a game may go: its positions fit the 91 bits that PackedClaim has for them. No model's games are
///      deeper than 78.
uint256 constant MAX_POSITION_DEPTH = 90;

/// @dev The root claim's position.
Position constant ROOT_POSITION = Position.wrap(1);

/// @dev Not a place in the tree: stands for the starting root, which no claim asserts.
Position constant NO_POSITION = Position.wrap(0);

/// @notice The generalized index as a plain number.
function raw(Position position) pure returns (uint128) {
    return Position.unwrap(position);
}

/// @notice Moves from the root, which has depth 0.
/// @param position At least 1.
function depth(Position position) pure returns (uint256) {
    return LibBit.fls(Position.unwrap(position));
}

/// @notice The place among the positions of the same depth, counted from the left: 0 to 2^depth - 1.
function indexAtDepth(Position position) pure returns (uint256) {
    return Position.unwrap(position) - (1 << position.depth());
}

/// @notice The position one level up.
function parent(Position position) pure returns (Position) {
    return Position.wrap(Position.unwrap(position) >> 1);
}

/// @notice Where a move against a claim at `position` puts its claim: one level down.
function move(Position position, bool isAttack) pure returns (Position) {
    return isAttack ? position.attack() : position.defend();
}

/// @notice Attack (disagree): the first half of the range of `position`.
function attack(Position position) pure returns (Position) {
    return Position.wrap(Position.unwrap(position) << 1);
}

/// @notice Defend (agree): the first half of the range just after `position`.
function defend(Position position) pure returns (Position) {
    return Position.wrap((Position.unwrap(position) | 1) << 1);
}

/// @notice The position at `bottom` that `position` commits to: the rightmost one below it.
/// @param bottom A depth, at least that of `position`.
function rightIndex(Position position, uint256 bottom) pure returns (Position) {
    uint256 remaining = bottom - position.depth();
    return Position.wrap(uint128((uint256(Position.unwrap(position)) << remaining) | ((1 << remaining) - 1)));
}

/// @notice The trace index that `position` commits to, in a trace whose leaves stand at depth `bottom`: index i is the
///         state after i + 1 transitions.
/// @param bottom A depth, at least that of `position`.
function traceIndex(Position position, uint256 bottom) pure returns (uint256) {
    return position.rightIndex(bottom).indexAtDepth();
}

/// @notice The shallowest position that commits to the same leaf: up while the position is a right child.
function traceAncestor(Position position) pure returns (Position) {
    uint256 trailingOnes = LibBit.ffs(~uint256(Position.unwrap(position)));
    uint128 ancestor = Position.unwrap(position) >> uint128(trailingOnes);
    // All ones is the right edge of the tree, which the root itself commits to.
    return ancestor == 0 ? ROOT_POSITION : Position.wrap(ancestor);
}

/// @notice As `traceAncestor`, but never at or above depth `bound`, which keeps a lookup inside one execution subgame.
/// @param bound The split depth; `position` must be below it.
function traceAncestorBounded(Position position, uint256 bound) pure returns (Position ancestor) {
    if (position.depth() <= bound) revert ClaimAboveSplit();
    ancestor = position.traceAncestor();
    if (ancestor.depth() <= bound) ancestor = ancestor.rightIndex(bound + 1);
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

/// @notice Claim indices in the order in which they were added: the answers to one claim, from the second on.
/// @dev Eight lanes of 32 bits a word, lane 0 in the lowest bits: the number of indices, then the indices themselves. So the
///      first seven share one word with their number.
///      ASSUMES: indices, and with them their number, are below 2^32.
struct AnswerList {
    mapping(uint256 word => uint256 lanes) words;
}

using {length, at, push} for AnswerList global;

uint256 constant LANE_BITS = 32;
uint256 constant LANES = 8;

/// @notice How many indices there are.
function length(AnswerList storage list) view returns (uint256) {
    return uint32(list.words[0]);
}

/// @notice The index at `place`, counted from 0.
/// @param place Below `length`; the caller checks.
function at(AnswerList storage list, uint256 place) view returns (uint32) {
    uint256 lane = place + 1;
    return uint32(list.words[lane / LANES] >> (LANE_BITS * (lane % LANES)));
}

/// @notice Adds an index at the end.
function push(AnswerList storage list, uint32 index) {
    uint256 lane = list.length() + 1;
    list.words[lane / LANES] |= uint256(index) << (LANE_BITS * (lane % LANES));
    list.words[0] += 1; // lane 0
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

/// @notice The answers to one claim, from the second on, as claim indices in the order in which they were added; and how far
///         their resolution has come. Most claims have one answer and nothing here.
/// @dev Eight lanes of 32 bits a word. In the first word, from the lowest bits: the number of indices, how many answers were
///      processed, and which answer wins; then the indices. So five indices share a word with those three.
///      ASSUMES: indices, and with them their number, are below 2^32.
struct AnswerList {
    mapping(uint256 word => uint256 lanes) words;
}

using {length, at, push, processed, winner, setProgress} for AnswerList global;

uint256 constant LANE_BITS = 32;
uint256 constant LANES = 8;
uint256 constant PROCESSED_LANE = 1;
uint256 constant WINNER_LANE = 2;
uint256 constant FIRST_INDEX_LANE = 3;

/// @notice How many indices there are.
function length(AnswerList storage list) view returns (uint256) {
    return uint32(list.words[0]);
}

/// @notice The index at `place`, counted from 0.
/// @param place Below `length`; the caller checks.
function at(AnswerList storage list, uint256 place) view returns (uint32) {
    uint256 lane = place + FIRST_INDEX_LANE;
    return uint32(list.words[lane / LANES] >> (LANE_BITS * (lane % LANES)));
}

/// @notice Adds an index at the end.
function push(AnswerList storage list, uint32 index) {
    uint256 lane = list.length() + FIRST_INDEX_LANE;
    list.words[lane / LANES] |= uint256(index) << (LANE_BITS * (lane % LANES));
    list.words[0] += 1; // lane 0
}

/// @notice How many answers to the claim, the first one included, were processed.
function processed(AnswerList storage list) view returns (uint32) {
    return uint32(list.words[0] >> (LANE_BITS * PROCESSED_LANE));
}

/// @notice The index of the winning answer, if that is another than the first one.
function winner(AnswerList storage list) view returns (uint32) {
    return uint32(list.words[0] >> (LANE_BITS * WINNER_LANE));
}

/// @notice Notes how far resolution has come.
function setProgress(AnswerList storage list, uint32 processed_, uint32 winner_) {
    uint256 others = list.words[0] & ~(uint256(type(uint64).max) << (LANE_BITS * PROCESSED_LANE));
    list.words[0] =
        others | uint256(processed_) << (LANE_BITS * PROCESSED_LANE) | uint256(winner_) << (LANE_BITS * WINNER_LANE);
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

/// @notice A claim's chess clock: the time its own team had used when it was posted, and when that was.
///         Encoded as duration << 64 | timestamp, both in seconds.
/// @dev Source: docs/game.md, "Clocks".
type Clock is uint128;

using {duration, timestamp} for Clock global;

/// @notice A clock that shows `duration_` seconds used at time `timestamp_`.
function newClock(uint64 duration_, uint64 timestamp_) pure returns (Clock) {
    return Clock.wrap((uint128(duration_) << 64) | timestamp_);
}

/// @notice Seconds that the claim's own team had used.
function duration(Clock clock) pure returns (uint64) {
    return uint64(Clock.unwrap(clock) >> 64);
}

/// @notice When the claim was posted, in seconds since 1970.
function timestamp(Clock clock) pure returns (uint64) {
    return uint64(Clock.unwrap(clock));
}

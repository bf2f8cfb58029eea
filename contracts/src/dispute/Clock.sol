// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Duration, Timestamp} from "./Time.sol";

/// @notice A claim's chess clock: the time its own side had used when it was posted, and when that was.
///         Encoded as duration << 64 | timestamp, both in seconds.
/// @dev Source: docs/game.md, "Clocks".
type Clock is uint128;

using {duration, timestamp} for Clock global;

/// @dev The timestamp has the lower 64 bits, the duration the upper ones.
uint128 constant CLOCK_DURATION_AT = 64;

/// @notice A clock that shows `duration_` used at time `timestamp_`.
function newClock(Duration duration_, Timestamp timestamp_) pure returns (Clock) {
    return Clock.wrap((uint128(Duration.unwrap(duration_)) << CLOCK_DURATION_AT) | Timestamp.unwrap(timestamp_));
}

/// @notice The time that the claim's own side had used.
function duration(Clock clock) pure returns (Duration) {
    return Duration.wrap(uint64(Clock.unwrap(clock) >> CLOCK_DURATION_AT));
}

/// @notice When the claim was posted.
function timestamp(Clock clock) pure returns (Timestamp) {
    return Timestamp.wrap(uint64(Clock.unwrap(clock)));
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

/// @notice A moment, in seconds since 1970.
type Timestamp is uint64;

/// @notice A moment, in seconds since 1970, in the five bytes that storage has for it.
type StoredTimestamp is uint40;

/// @notice A length of time, in seconds.
type Duration is uint64;

/// @notice A moment, in seconds since 1970, where the published interface has 256 bits for it.
type Timestamp256 is uint256;

/// @notice A length of time, in seconds, where the published interface has 256 bits for it.
type Duration256 is uint256;

using LibTimestamp for Timestamp global;
using LibStoredTimestamp for StoredTimestamp global;
using LibTimestamp256 for Timestamp256 global;
using LibDuration for Duration global;
using LibDuration256 for Duration256 global;
using {durationEquals as ==, durationIsLess as <, durationSum as +, durationDifference as -} for Duration global;

/// @notice The block's time.
function currentTimestamp() view returns (Timestamp) {
    return Timestamp.wrap(uint64(block.timestamp)); // ASSUMES: the year is below 580 billion
}

function durationEquals(Duration a, Duration b) pure returns (bool) {
    return Duration.unwrap(a) == Duration.unwrap(b);
}

function durationIsLess(Duration a, Duration b) pure returns (bool) {
    return Duration.unwrap(a) < Duration.unwrap(b);
}

/// @dev Panic(0x11) if it does not fit.
function durationSum(Duration a, Duration b) pure returns (Duration) {
    return Duration.wrap(Duration.unwrap(a) + Duration.unwrap(b));
}

/// @dev Panic(0x11) if `b` is longer than `a`.
function durationDifference(Duration a, Duration b) pure returns (Duration) {
    return Duration.wrap(Duration.unwrap(a) - Duration.unwrap(b));
}

library LibTimestamp {
    /// @notice Seconds since 1970.
    function raw(Timestamp timestamp) internal pure returns (uint64) {
        return Timestamp.unwrap(timestamp);
    }

    /// @notice Cut to five bytes.
    function stored(Timestamp timestamp) internal pure returns (StoredTimestamp) {
        return StoredTimestamp.wrap(uint40(Timestamp.unwrap(timestamp))); // ASSUMES: the year is below 36,812
    }

    /// @notice The moment `duration` later.
    function plus(Timestamp timestamp, Duration duration) internal pure returns (Timestamp) {
        return Timestamp.wrap(Timestamp.unwrap(timestamp) + Duration.unwrap(duration));
    }
}

library LibStoredTimestamp {
    /// @notice The moment in its usual width.
    function full(StoredTimestamp timestamp) internal pure returns (Timestamp) {
        return Timestamp.wrap(StoredTimestamp.unwrap(timestamp));
    }

    /// @notice Seconds since 1970.
    function raw(StoredTimestamp timestamp) internal pure returns (uint40) {
        return StoredTimestamp.unwrap(timestamp);
    }
}

library LibTimestamp256 {
    /// @notice Seconds since 1970.
    function raw(Timestamp256 timestamp) internal pure returns (uint256) {
        return Timestamp256.unwrap(timestamp);
    }

    /// @notice The moment `duration` later.
    function plus(Timestamp256 timestamp, Duration256 duration) internal pure returns (Timestamp256) {
        return Timestamp256.wrap(Timestamp256.unwrap(timestamp) + Duration256.unwrap(duration));
    }
}

library LibDuration {
    /// @notice Seconds.
    function raw(Duration duration) internal pure returns (uint64) {
        return Duration.unwrap(duration);
    }
}

library LibDuration256 {
    /// @notice Seconds.
    function raw(Duration256 duration) internal pure returns (uint256) {
        return Duration256.unwrap(duration);
    }
}

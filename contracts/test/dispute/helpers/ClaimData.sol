// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Clock} from "../../../src/dispute/Clock.sol";
import {Position} from "../../../src/dispute/Position.sol";
import {Claim} from "../../../src/dispute/Claim.sol";

/// @notice What `claimData` answers, in its order.
struct ClaimData {
    uint32 parentIndex;
    address counteredBy;
    address claimant;
    uint128 bond;
    Claim claim;
    Position position;
    Clock clock;
}

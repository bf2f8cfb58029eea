// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {Duration256} from "../dispute/Time.sol";

/// @title The owner of a deployment's factory, oracle and vault
/// @notice OpenZeppelin's TimelockController: what a proposer schedules can be executed after the delay, and until then be seen
///         and cancelled. It administers itself, so its delay and its roles change only through it.
/// @dev Source: docs/game.md, "Roles".
contract Timelock is TimelockController {
    /// @param minDelay Time between scheduling and executing.
    /// @param proposers Who may schedule and cancel.
    /// @param executors Who may execute what is due; the zero address stands for everyone.
    constructor(Duration256 minDelay, address[] memory proposers, address[] memory executors)
        TimelockController(minDelay.raw(), proposers, executors, address(0))
    {}
}

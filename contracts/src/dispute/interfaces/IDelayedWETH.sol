// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Duration256, Timestamp256} from "../Time.sol";

/// @title Wrapped ether that can be taken out only some time after it was announced
/// @notice Holds the bonds of all games. Between `unlock` and `withdraw` the owner has time to intervene if a game
///      ended wrongly.
/// @dev Source: docs/game.md, "Where the bonds are".
interface IDelayedWETH {
    /// @notice `wad` wei of ether became WETH of `dst`.
    event Deposit(address indexed dst, uint256 wad);
    /// @notice `wad` wei of WETH of `src` became ether.
    event Withdrawal(address indexed src, uint256 wad);
    /// @notice `owner` announced that it will take out `wad` more wei for `recipient`.
    event Unlocked(address indexed owner, address indexed recipient, uint256 wad);

    /// @notice Turns the ether sent into WETH of the caller.
    function deposit() external payable;

    /// @notice Announces a withdrawal of `wad` more wei for `guy`, and starts the delay anew for the whole amount.
    function unlock(address guy, uint256 wad) external;

    /// @notice Takes out `wad` wei announced for `guy` and sends them, with 2300 gas, to the caller.
    function withdraw(address guy, uint256 wad) external;

    /// @notice `withdraw(msg.sender, wad)`.
    function withdraw(uint256 wad) external;

    /// @notice What `owner` announced for `guy`.
    /// @return amount In wei.
    /// @return timestamp When it was last announced.
    function withdrawals(address owner, address guy) external view returns (uint256 amount, Timestamp256 timestamp);

    /// @notice Time between announcing and taking out.
    function delay() external view returns (Duration256);

    /// @notice Owner only: takes all WETH of `guy`.
    function hold(address guy) external;

    /// @notice Owner only: takes `wad` wei of WETH of `guy`.
    function hold(address guy, uint256 wad) external;

    /// @notice Owner only: takes min(`wad`, balance) wei of WETH of `guy` out as ether. It reaches one game at a time.
    function recover(address guy, uint256 wad) external;

    /// @notice The contract that says whether the system is paused.
    function config() external view returns (address);
}

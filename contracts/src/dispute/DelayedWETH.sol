// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {ERC20} from "solady/tokens/ERC20.sol";
import {WETH} from "solady/tokens/WETH.sol";
import {Duration256, Timestamp256} from "./Time.sol";
import {IDelayedWETH} from "./interfaces/IDelayedWETH.sol";
import {IGameRegistry} from "./interfaces/IGameRegistry.sol";

/// @title DelayedWETH
/// @notice See IDelayedWETH. Errors are the strings that existing tools know.
contract DelayedWETH is WETH, Ownable, IDelayedWETH {
    struct WithdrawalRequest {
        /// @notice In wei.
        uint256 amount;
        /// @notice When it was last announced; 0 if never.
        Timestamp256 timestamp;
    }

    /// @inheritdoc IDelayedWETH
    Duration256 public immutable delay;
    /// @inheritdoc IDelayedWETH
    address public immutable config;

    mapping(address owner => mapping(address guy => WithdrawalRequest)) public withdrawals;

    /// @param delay_ Time between announcing and taking out.
    /// @param config_ Says whether the system is paused: the games' registry.
    /// @param owner_ May take the bonds of a game out if it went wrong; meant to be a timelock.
    constructor(Duration256 delay_, IGameRegistry config_, address owner_) Ownable(owner_) {
        delay = delay_;
        config = address(config_);
    }

    /// @notice Ether sent with data that name no function is a deposit, as is ether sent without data.
    fallback() external payable {
        deposit();
    }

    receive() external payable override {
        deposit();
    }

    function deposit() public payable override(WETH, IDelayedWETH) {
        super.deposit();
        emit Deposit(msg.sender, msg.value);
    }

    function unlock(address guy, uint256 wad) external {
        WithdrawalRequest storage request = withdrawals[msg.sender][guy];
        request.timestamp = Timestamp256.wrap(block.timestamp);
        request.amount += wad;
        emit Unlocked(msg.sender, guy, wad);
    }

    function withdraw(uint256 wad) public override(WETH, IDelayedWETH) {
        withdraw(msg.sender, wad);
    }

    function withdraw(address guy, uint256 wad) public {
        require(!IGameRegistry(config).paused(), "DelayedWETH: contract is paused");
        WithdrawalRequest storage request = withdrawals[msg.sender][guy];
        require(request.amount >= wad, "DelayedWETH: insufficient unlocked withdrawal");
        require(request.timestamp.raw() > 0, "DelayedWETH: withdrawal not unlocked");
        require(request.timestamp.plus(delay).raw() <= block.timestamp, "DelayedWETH: withdrawal delay not met");
        request.amount -= wad;
        _burn(msg.sender, wad);
        emit Withdrawal(msg.sender, wad);
        payable(msg.sender).transfer(wad);
    }

    function hold(address guy) external {
        hold(guy, balanceOf(guy));
    }

    function hold(address guy, uint256 wad) public onlyOwner {
        // As the published vault does: tools may read its log and allowance.
        _approve(guy, msg.sender, wad);
        if (guy == msg.sender) _transfer(guy, msg.sender, wad);
        else transferFrom(guy, msg.sender, wad);
    }

    function recover(address guy, uint256 wad) external onlyOwner {
        uint256 balance = balanceOf(guy);
        uint256 amount = wad < balance ? wad : balance;
        // INVARIANT: only what is burnt leaves, so every other owner's WETH stays covered by ether.
        _burn(guy, amount);
        emit Withdrawal(guy, amount);
        (bool success,) = msg.sender.call{value: amount}("");
        require(success, "DelayedWETH: recover failed");
    }

    /// @notice The contract's ether.
    function totalSupply() public view override returns (uint256) {
        return address(this).balance;
    }

    function version() external pure returns (string memory) {
        return "1.5.1";
    }

    function _checkOwner() internal view override {
        require(owner() == msg.sender, "DelayedWETH: not owner");
    }

    /// @dev WHY NOT Solady's default, true: no account may move WETH that it was not given.
    function _givePermit2InfiniteAllowance() internal pure override returns (bool) {
        return false;
    }
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {ERC20} from "solady/tokens/ERC20.sol";
import {WETH} from "solady/tokens/WETH.sol";
import {Duration256, StoredTimestamp, Timestamp256, currentTimestamp} from "./Time.sol";
import {IDelayedWETH} from "./interfaces/IDelayedWETH.sol";
import {IGameRegistry} from "./interfaces/IGameRegistry.sol";

/// @title DelayedWETH
/// @notice See IDelayedWETH. Errors are the strings that existing tools know.
contract DelayedWETH is WETH, Ownable, IDelayedWETH {
    /// @dev Of Solady's ERC20: balances are at keccak256(account ++ seed).
    uint256 private constant BALANCE_SLOT_SEED = 0x87a211a2;

    struct WithdrawalRequest {
        /// @notice In wei.
        uint216 amount;
        /// @notice When it was last announced; 0 if never.
        StoredTimestamp timestamp;
    }

    /// @inheritdoc IDelayedWETH
    Duration256 public immutable delay;
    /// @inheritdoc IDelayedWETH
    address public immutable config;

    mapping(address owner => mapping(address guy => WithdrawalRequest)) internal requests;

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
        WithdrawalRequest storage request = requests[msg.sender][guy];
        // Both in one word. An amount that does not fit is not covered by any balance: the sum is refused, as one above 2^256 is.
        uint256 amount = request.amount + wad;
        require(amount <= type(uint216).max, "DelayedWETH: amount too large");
        (request.amount, request.timestamp) = (uint216(amount), currentTimestamp().stored());
        emit Unlocked(msg.sender, guy, wad);
    }

    function withdraw(uint256 wad) public override(WETH, IDelayedWETH) {
        withdraw(msg.sender, wad);
    }

    function withdraw(address guy, uint256 wad) public {
        require(!IGameRegistry(config).paused(), "DelayedWETH: contract is paused");
        WithdrawalRequest storage request = requests[msg.sender][guy];
        require(request.amount >= wad, "DelayedWETH: insufficient unlocked withdrawal");
        require(request.timestamp.raw() > 0, "DelayedWETH: withdrawal not unlocked");
        require(
            Timestamp256.wrap(request.timestamp.raw()).plus(delay).raw() <= block.timestamp,
            "DelayedWETH: withdrawal delay not met"
        );
        request.amount -= uint216(wad);
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

    function withdrawals(address owner, address guy) external view returns (uint256 amount, Timestamp256 timestamp) {
        WithdrawalRequest storage request = requests[owner][guy];
        return (request.amount, Timestamp256.wrap(request.timestamp.raw()));
    }

    /// @notice The contract's ether.
    function totalSupply() public view override returns (uint256) {
        return address(this).balance;
    }

    /// @dev Solady's, but for its own record of the total: that is the contract's ether, which cannot overflow.
    function _mint(address to, uint256 amount) internal override {
        assembly ("memory-safe") {
            mstore(0x0c, BALANCE_SLOT_SEED)
            mstore(0x00, to)
            let slot := keccak256(0x0c, 0x20)
            sstore(slot, add(sload(slot), amount))
        }
        emit Transfer(address(0), to, amount);
    }

    /// @dev As `_mint`.
    function _burn(address from, uint256 amount) internal override {
        uint256 held = balanceOf(from);
        if (amount > held) revert InsufficientBalance();
        assembly ("memory-safe") {
            mstore(0x0c, BALANCE_SLOT_SEED)
            mstore(0x00, from)
            sstore(keccak256(0x0c, 0x20), sub(held, amount))
        }
        emit Transfer(from, address(0), amount);
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

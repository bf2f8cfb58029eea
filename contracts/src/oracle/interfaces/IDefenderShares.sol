// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IFaultDisputeGame} from "../../dispute/interfaces/IFaultDisputeGame.sol";

/// @title The defenders' shares of fees
/// @notice A request may say that a part of its fee is for those who defended the answer: who countered the claims that fell
///         in the game which delivered it. Each is rewarded in proportion to what those claims forfeited, and with half of
///         that at most. So an account that counters its own claims loses by it, with the reward as well.
/// @dev Source: docs/game.md, "Shares of the defenders".
interface IDefenderShares {
    /// @notice A game delivered, and `amount` of the fee was kept for those who countered its claims.
    event ShareBooked(IFaultDisputeGame indexed game, uint256 amount);
    /// @notice A reward was paid, for claims that forfeited `forfeited` in all; with what was paid before, if anything.
    event SharePaid(IFaultDisputeGame indexed game, address indexed recipient, uint256 forfeited, uint256 amount);

    /// @notice The caller is not the oracle.
    error NotOracle(address found, address expected);
    /// @notice More than half of what was forfeited in the game would be paid for it.
    error ShareTooLarge(IFaultDisputeGame game, uint256 found, uint256 max);
    /// @notice The game gives all bonds back, so no claim of it lost anything.
    error GameRefunds(IFaultDisputeGame game);
    /// @notice Nothing was kept for those who countered this game's claims.
    error NoShare(IFaultDisputeGame game);

    /// @notice Only for the oracle: keeps the value sent for those who countered claims of the game, which delivers. Closes the
    ///         game, so that the bonds which its losers lost are not given back later.
    function book(IFaultDisputeGame game) external payable;

    /// @notice Pays `recipient`, by anyone, for those of these claims that it countered, and what it is owed from before.
    ///         Claims of which it was credited before, and those that it did not counter, add nothing.
    /// @return amount In wei; 0 if nothing is owed.
    function pay(IFaultDisputeGame game, address recipient, uint256[] calldata claimIndices)
        external
        returns (uint256 amount);

    /// @notice What can still be booked for a game that is resolved, in wei.
    function roomOf(IFaultDisputeGame game) external view returns (uint256);

    /// @notice What was kept for those who countered claims of a game, in wei, whether it was paid or not.
    function shareOf(IFaultDisputeGame game) external view returns (uint256);

    /// @notice What the recipient was credited with: what the claims forfeited that it was credited for, and what it was paid.
    function creditOf(IFaultDisputeGame game, address recipient) external view returns (uint128 forfeited, uint128 paid);

    /// @notice The only caller of `book`.
    function oracle() external view returns (address);
}

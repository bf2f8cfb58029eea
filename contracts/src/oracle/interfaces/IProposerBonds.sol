// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IFaultDisputeGame} from "../../dispute/interfaces/IFaultDisputeGame.sol";

/// @title Bonds that requests demand of their proposers
/// @notice A request may say how much its answer is worth. A proposal for it then locks that amount, beside the root
///         claim's own bond, for as long as its game lasts: it is the proposer's again if the root claim stands, and the
///         challenger's, less the part that no winner gets, if it falls. A proposer deposits here before it proposes.
/// @dev Source: docs/game.md, "Demanded bonds".
interface IProposerBonds {
    event Deposited(address indexed proposer, uint256 amount);
    event Withdrawn(address indexed proposer, uint256 amount);
    event BondLocked(IFaultDisputeGame indexed game, address indexed proposer, uint256 amount);
    /// @notice A part of a game's bond was paid out; the parts add up to what was locked.
    event BondReleased(IFaultDisputeGame indexed game, address indexed recipient, uint256 amount);

    /// @notice The caller is not the oracle.
    error NotOracle(address found, address expected);
    /// @notice The proposer's deposit is smaller than what is to be locked, or than what is to be withdrawn.
    error DepositShort(address proposer, uint256 found, uint256 needed);
    /// @notice The game has no bond, or it was released before.
    error NoBond(IFaultDisputeGame game);
    /// @notice The guardian paused the system.
    error Paused();

    /// @notice Adds the value sent to the caller's deposit.
    function deposit() external payable;

    /// @notice Takes a part of the caller's deposit back.
    function withdraw(uint256 amount) external;

    /// @notice Only for the oracle: locks a part of a proposer's deposit for its game.
    function lock(IFaultDisputeGame game, address proposer, uint256 amount) external;

    /// @notice Pays out the bond of a game, by anyone, once the game pays out its own bonds; closes the game if need be.
    ///         Whom it goes to is decided as for those: to the proposer, unless the root claim fell and the game was not
    ///         discarded.
    function release(IFaultDisputeGame game) external;

    /// @notice What the account can lock or withdraw.
    function depositOf(address proposer) external view returns (uint256);
    /// @notice What is locked for the game.
    function bondOf(IFaultDisputeGame game) external view returns (uint256);
    /// @notice The only caller of `lock`.
    function oracle() external view returns (address);
}

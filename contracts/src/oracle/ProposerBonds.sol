// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {SafeTransferLib} from "solady/utils/SafeTransferLib.sol";
import {ALL_BPS, BondTerms} from "../dispute/Bond.sol";
import {BondDistributionMode, GameStatus} from "../dispute/Types.sol";
import {IFaultDisputeGame} from "../dispute/interfaces/IFaultDisputeGame.sol";
import {IGameRegistry} from "../dispute/interfaces/IGameRegistry.sol";
import {IProposerBonds} from "./interfaces/IProposerBonds.sol";

/// @title ProposerBonds
/// @notice See IProposerBonds. No owner: money leaves by `withdraw` and `release` only. The oracle makes this contract, and
///         fees stay with the oracle, so neither can be paid out of the other's funds.
contract ProposerBonds is IProposerBonds {
    address public immutable oracle;

    mapping(address proposer => uint256) public depositOf;
    mapping(IFaultDisputeGame game => uint256) public bondOf;

    constructor() {
        oracle = msg.sender;
    }

    function deposit() external payable {
        depositOf[msg.sender] += msg.value;
        emit Deposited(msg.sender, msg.value);
    }

    function withdraw(uint256 amount) external {
        _take(msg.sender, amount);
        emit Withdrawn(msg.sender, amount);
        SafeTransferLib.forceSafeTransferETH(msg.sender, amount);
    }

    function lock(IFaultDisputeGame game, address proposer, uint256 amount) external {
        if (msg.sender != oracle) revert NotOracle(msg.sender, oracle);
        _take(proposer, amount);
        bondOf[game] += amount;
        emit BondLocked(game, proposer, amount);
    }

    function release(IFaultDisputeGame game) external {
        // ASSUMES: the oracle locks bonds for games of its factory only, so the game tells the truth about itself.
        uint256 bond = bondOf[game];
        if (bond == 0) revert NoBond(game);
        if (IGameRegistry(oracle).paused()) revert Paused();
        // INVARIANT: the game decides once how bonds are paid out, and this bond goes the same way. So discarding all games
        // until now, later, gives no liar its bond back.
        game.closeGame();
        // Before money moves, so that calling back gains nothing.
        bondOf[game] = 0;
        if (game.bondDistributionMode() != BondDistributionMode.NORMAL || game.status() == GameStatus.DEFENDER_WINS) {
            return _pay(game, game.gameCreator(), bond);
        }
        (, address challenger,,,,,) = game.claimData(0);
        BondTerms memory terms = game.bondTerms();
        uint256 forfeited = bond * terms.forfeitedBps / ALL_BPS;
        _pay(game, challenger, bond - forfeited);
        if (forfeited != 0) _pay(game, terms.forfeitedTo, forfeited);
    }

    function _take(address proposer, uint256 amount) internal {
        uint256 found = depositOf[proposer];
        if (found < amount) revert DepositShort(proposer, found, amount);
        depositOf[proposer] = found - amount;
    }

    /// @dev Also to a recipient that refuses it.
    function _pay(IFaultDisputeGame game, address recipient, uint256 amount) internal {
        emit BondReleased(game, recipient, amount);
        SafeTransferLib.forceSafeTransferETH(recipient, amount);
    }
}

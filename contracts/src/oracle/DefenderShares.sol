// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {LibBitmap} from "solady/utils/LibBitmap.sol";
import {SafeTransferLib} from "solady/utils/SafeTransferLib.sol";
import {BondDistributionMode} from "../dispute/Types.sol";
import {IFaultDisputeGame} from "../dispute/interfaces/IFaultDisputeGame.sol";
import {IDefenderShares} from "./interfaces/IDefenderShares.sol";

/// @title DefenderShares
/// @notice See IDefenderShares. No owner: money leaves by `pay` only. The oracle makes this contract, and sends it each share
///         with its booking, so no share is paid out of the fee of another request.
contract DefenderShares is IDefenderShares {
    using LibBitmap for LibBitmap.Bitmap;

    /// @notice What an account was credited with in a game, in one word.
    /// @dev ASSUMES: there are fewer than 2^104 wei.
    struct Credit {
        /// @notice What the claims forfeited that it countered and was credited for.
        uint128 forfeited;
        /// @notice What it was paid.
        uint128 paid;
    }

    /// @dev A reward is at most one of so many parts of what was forfeited. With 1 an account could counter its own claims
    ///      at no cost but gas, which would make delays free and take the share from others; with 2 it loses no less than it
    ///      takes.
    uint256 internal constant FORFEITED_PER_REWARD = 2;

    address public immutable oracle;

    mapping(IFaultDisputeGame game => uint256) public shareOf;
    mapping(IFaultDisputeGame game => mapping(address recipient => Credit)) public creditOf;
    /// @dev Of each game, by the claims' indices.
    mapping(IFaultDisputeGame game => LibBitmap.Bitmap) internal isCredited;

    constructor() {
        oracle = msg.sender;
    }

    function roomOf(IFaultDisputeGame game) public view returns (uint256) {
        // INVARIANT: a resolved game settles no claim, so this only shrinks, by what is booked.
        return game.totalForfeited() / FORFEITED_PER_REWARD - shareOf[game];
    }

    function book(IFaultDisputeGame game) external payable {
        // ASSUMES: the oracle books shares of games of its factory only, so the game tells the truth about itself.
        if (msg.sender != oracle) revert NotOracle(msg.sender, oracle);
        uint256 room = roomOf(game);
        if (msg.value > room) revert ShareTooLarge(game, msg.value, room);
        // INVARIANT: who is rewarded for a claim is paid by who lost it. Were the game closed later, it could be discarded
        // before, and give all bonds back.
        game.closeGame();
        if (game.bondDistributionMode() != BondDistributionMode.NORMAL) revert GameRefunds(game);
        shareOf[game] += msg.value;
        emit ShareBooked(game, msg.value);
    }

    function pay(IFaultDisputeGame game, address recipient, uint256[] calldata claimIndices)
        external
        returns (uint256 amount)
    {
        uint256 share = shareOf[game];
        // INVARIANT: from here on the game is one that the oracle named.
        if (share == 0) revert NoShare(game);
        Credit memory credit = creditOf[game][recipient];
        for (uint256 i = 0; i < claimIndices.length; ++i) {
            uint256 forfeited = _newlyCredited(game, recipient, claimIndices[i]);
            if (forfeited == 0) continue;
            isCredited[game].set(claimIndices[i]);
            credit.forfeited += uint128(forfeited);
        }
        amount = _rewardFor(game, share, credit.forfeited) - credit.paid;
        credit.paid += uint128(amount);
        // Before money moves, so that calling back gains nothing.
        creditOf[game][recipient] = credit;
        if (amount == 0) return 0;
        emit SharePaid(game, recipient, credit.forfeited, amount);
        SafeTransferLib.forceSafeTransferETH(recipient, amount); // also to a recipient that refuses it
    }

    /// @dev What the recipient is to be credited for this claim with; 0 if it did not counter it, or if it was before.
    function _newlyCredited(IFaultDisputeGame game, address recipient, uint256 claimIndex)
        internal
        view
        returns (uint256)
    {
        if (isCredited[game].get(claimIndex)) return 0;
        (address counteredBy, uint256 forfeited) = game.forfeitOf(claimIndex);
        return counteredBy == recipient ? forfeited : 0;
    }

    /// @dev The part of a game's share that belongs to claims which forfeited `forfeited`. Rounded down once an account, so the
    ///      rewards of all add up to the share at most.
    function _rewardFor(IFaultDisputeGame game, uint256 share, uint256 forfeited) internal view returns (uint256) {
        return share * forfeited / game.totalForfeited();
    }
}

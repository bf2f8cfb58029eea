// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

// The errors of the game and its factory. Clients know these signatures, so they carry no values.
// Source: docs/game.md, "Errors".

import {Claim} from "./Claim.sol";

// Making a game.

/// @notice The clone was initialized before.
error AlreadyInitialized();
/// @notice The request is unknown to the contract in the registry's place.
error AnchorRootNotFound();
/// @notice The extra data are neither a request id nor a request id and a nonce other than 0.
error BadExtraData();
/// @notice A bond cannot be computed with these terms, or more than half of a lost bond would be kept from the winner.
error InvalidBondTerms();
/// @notice The pre-image oracle's challenge period does not fit 64 bits.
error InvalidChallengePeriod();
/// @notice The clock extensions do not fit the maximum clock duration.
error InvalidClockExtension();
/// @notice The split depth is below 2, too close to the maximum depth, or too shallow for the trace.
error InvalidSplitDepth();
/// @notice The maximum depth is above the limit.
error MaxDepthTooLarge();
/// @notice The maximum depth is odd, so the deepest claims would not belong to the root claim's side.
error OddMaxDepth(uint256 maxGameDepth);
/// @notice An execution root's status byte is not one its mover can mean; or a game over an empty trace.
error UnexpectedRootClaim(Claim rootClaim);

// Moves and steps.

/// @notice The game is resolved.
error GameNotInProgress();
/// @notice The claim at the index is not the one the mover saw.
error InvalidDisputedClaimIndex();
/// @notice The root claim of a game, or of an execution subgame, was defended.
error CannotDefendRootClaim();
/// @notice Below the maximum depth there are no claims.
error GameDepthExceeded();
/// @notice The value sent is not the bond.
error IncorrectBondAmount();
/// @notice The mover's side has no time left.
error ClockTimeExceeded();
/// @notice The game has as many claims, or players, as it can count.
error TooManyClaims();
/// @notice The same claim stands at the same position under the same parent.
error ClaimAlreadyExists();
/// @notice Only claims at the maximum depth can be stepped against.
error InvalidParent();
/// @notice The state given is not the one the claims agreed on.
error InvalidPrestate();
/// @notice The step does not refute the claim.
error ValidStep();
/// @notice The claim was countered by a step before.
error DuplicateStep();
/// @notice Only claims below the split depth belong to an execution subgame.
error ClaimAboveSplit();
/// @notice Local data have the identifiers 2 to 5.
error InvalidLocalIdent();

// Resolution.

/// @notice The side that may answer the claim still has time.
error ClockNotExpired();
/// @notice The claim was resolved before.
error ClaimAlreadyResolved();
/// @notice Something below is not resolved yet.
error OutOfOrderResolution();

// Paying out.

/// @notice The system is paused.
error GamePaused();
/// @notice The game is not resolved yet.
error GameNotResolved();
/// @notice The game is resolved, but the finality delay is not over.
error GameNotFinalized();
/// @notice The recipient has nothing to claim.
error NoCreditToClaim();
/// @notice The recipient does not take the money.
error BondTransferFailed();
/// @notice The chain id is not the game's.
error UnknownChainId();

// The factory.

/// @notice No implementation is set for the game type.
error NoImplementation(uint32 gameType);
/// @notice A game of this type, root claim and extra data exists.
error GameAlreadyExists(bytes32 uuid);

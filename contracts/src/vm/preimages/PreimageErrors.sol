// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

// The names are the OP Stack's: clients and their tests know these selectors.

/// @notice The part would start behind the object's end, or local data is larger than a word, or the input of a proposal
/// holds the beginning of its part but not the end.
error PartOffsetOOB();

/// @notice The precompile's call was not given the gas that its key names.
error NotEnoughGas();

/// @notice The hash function SHA-256 could not be called.
error ShaFailed();

/// @notice A leaf is not in the proposal's tree, or a commitment to a polynomial does not have this value at this point.
error InvalidProof();

/// @notice The sponge's state is not the one that the leaf before commits to.
error InvalidPreimage();

/// @notice The size of the input is not a multiple of the block's, not that of the commitments, or not the claimed one.
error InvalidInputSize();

/// @notice Input was sent out of order.
error WrongStartingBlock();

/// @notice The two leaves do not follow each other, or are not the last two.
error StatesNotContiguous();

/// @notice The block leads to the very state that was committed to: there is nothing to challenge.
error PostStateMatches();

/// @notice The pre-image has more blocks than the tree has room for.
error TreeSizeOverflow();

/// @notice All input of the proposal is there already.
error AlreadyFinalized();

/// @notice The proposal can still be challenged, or its input is not all there.
error ActiveProposal();

/// @notice The proposal was challenged.
error BadProposal();

/// @notice There is no such proposal.
error NotInitialized();

/// @notice There is a proposal of this number already.
error AlreadyInitialized();

/// @notice A proposal is made by accounts without code only.
error NotEOA();

/// @notice The proposal's bond is too small.
error InsufficientBond();

/// @notice The bond's receiver refused it.
error BondTransferFailed();

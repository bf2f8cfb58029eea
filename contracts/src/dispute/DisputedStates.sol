// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";
import {LocalContext} from "../vm/LocalContext.sol";
import {PreimageKey} from "../vm/PreimageKey.sol";
import {StateHash} from "../vm/StateHash.sol";
import {ClaimAboveSplit, InvalidLocalIdent} from "./Errors.sol";
import {GameState} from "./GameState.sol";
import {PackedClaim} from "./PackedClaim.sol";
import {PackedGame} from "./PackedGame.sol";
import {NO_POSITION, Position} from "./Position.sol";
import {StateRoot} from "./StateRoot.sol";
import {LocalIdent} from "./Types.sol";
import {ILocalPreimageOracle} from "./interfaces/IFpvm.sol";

/// @title What the claims of a game say about one node and one instruction
/// @notice An execution subgame disputes one node, a step one instruction of its VM trace. Which state stands before it and
///         which after it, other claims said on the way there: claims only ever get added, each with a pointer to the claim
///         that it answers, so they are found by walking up from any claim of the subgame.
/// @dev Source: docs/game.md, "Execution subgames" and "Steps".
abstract contract DisputedStates is GameState {
    uint256 internal constant WORD_BYTES = 32;
    uint256 internal constant U64_BYTES = 8;
    /// @dev Shifts a 64-bit number to the left end of a word.
    uint256 internal constant U64_ON_THE_LEFT = 192;

    // ------------------------------------------------------------------------------------------------ a node

    function addLocalData(uint256 ident, uint256 execLeafIndex, uint256 partOffset) external {
        PackedGame game = _gameInProgress();
        (StateRoot starting,, StateRoot disputed, Position disputedPosition) = _startingAndDisputed(execLeafIndex);
        LocalContext context = _localContext(execLeafIndex);

        bytes32 word;
        uint256 size = WORD_BYTES;
        if (ident == LocalIdent.STARTING_ROOT) {
            word = starting.raw();
        } else if (ident == LocalIdent.DISPUTED_ROOT) {
            word = disputed.raw();
        } else if (ident == LocalIdent.DISPUTED_INDEX) {
            (word, size) = (bytes32(_nodeIndex(disputedPosition, game) << U64_ON_THE_LEFT), U64_BYTES);
        } else if (ident == LocalIdent.CHAIN_ID) {
            (word, size) = (bytes32(l2ChainId() << U64_ON_THE_LEFT), U64_BYTES);
        } else if (ident == LocalIdent.ITEM) {
            word = _itemOf(_nodeIndex(disputedPosition, game), game);
        } else {
            revert InvalidLocalIdent();
        }
        ILocalPreimageOracle oracle = vm().oracle();
        PreimageKey key = oracle.loadLocalData(ident, context, word, size, partOffset);
        emit LocalDataAdded(ident, execLeafIndex, context, key, partOffset);
    }

    /// @dev Which two neighbouring state roots an execution subgame, given by any claim of it, is about: `starting` before
    ///      the node, on which the players agree, and `disputed` after it, on which they do not. S_0 stands at NO_POSITION.
    function _startingAndDisputed(uint256 index)
        internal
        view
        returns (StateRoot starting, Position startingPosition, StateRoot disputed, Position disputedPosition)
    {
        PackedClaim claim = _claimAt(index, packedGame);
        uint256 split = packedGame.splitDepth();
        if (claim.position().depth() <= split) revert ClaimAboveSplit();
        Position execRoot;
        while (claim.position().raw() >> (split + 1) != 0) {
            (execRoot, index) = (claim.position(), claim.parentIndex());
            claim = _packed(index);
        }

        Position leaf = claim.position();
        StateRoot leafRoot = _valueOf(index).asStateRoot();
        if (execRoot.parent().raw() == leaf.raw()) {
            (disputed, disputedPosition) = (leafRoot, leaf);
            if (leaf.indexAtDepth() == 0) return (startingRootHash, NO_POSITION, disputed, disputedPosition);
            startingPosition = Position.wrap(leaf.raw() - 1).traceAncestor();
            starting = _valueOf(_ancestor(startingPosition, index)).asStateRoot();
        } else {
            (starting, startingPosition) = (leafRoot, leaf);
            disputedPosition = Position.wrap(leaf.raw() + 1).traceAncestor();
            disputed = _valueOf(_ancestor(disputedPosition, index)).asStateRoot();
        }
    }

    /// @dev Tells an execution subgame from all others of this game, so that its local pre-images are its own.
    function _localContext(uint256 index) internal view returns (LocalContext) {
        (StateRoot starting, Position startingPosition, StateRoot disputed, Position disputedPosition) =
            _startingAndDisputed(index);
        bytes memory about = startingPosition.raw() == NO_POSITION.raw()
            ? abi.encode(disputed, disputedPosition)
            : abi.encode(starting, startingPosition, disputed, disputedPosition);
        return LocalContext.wrap(keccak256(about));
    }

    /// @dev t of the state root S_t that a claim at `position`, not below the split depth, asserts.
    function _nodeIndex(Position position, PackedGame game) internal pure returns (uint256) {
        uint256 transitions = position.traceIndex(game.splitDepth()) + 1;
        return transitions < game.nodeCount() ? transitions : game.nodeCount();
    }

    /// @dev Which item, of how many there is room for, has the node that leads to S_t: the data of LocalIdent.ITEM.
    /// @param t 1 to the number of nodes.
    function _itemOf(uint256 t, PackedGame game) internal pure returns (bytes32) {
        uint256 items = game.itemCount();
        uint256 item = (t - 1) / (game.nodeCount() / items);
        return bytes32(FixedPointMathLib.log2Up(items) << 64 | item);
    }

    // ------------------------------------------------------------------------------------------------ an instruction

    /// @dev What is said about the states before and after the instruction that a step against `claimIndex` executes.
    /// @return preState The state before it.
    /// @return postIndex The claim about the state after it.
    function _statesAround(uint256 claimIndex, bool isAttack, PackedGame game)
        internal
        view
        returns (StateHash preState, uint256 postIndex)
    {
        PackedClaim countered = _packed(claimIndex);
        Position position = countered.position();
        uint256 parentIndex = countered.parentIndex();
        if (isAttack) {
            // The claim is the state after the instruction.
            postIndex = claimIndex;
            uint256 leavesPerTrace = uint256(1) << (game.maxDepth() - game.splitDepth() - 1);
            preState = position.indexAtDepth() % leavesPerTrace == 0
                ? absolutePrestate()
                : _valueOf(_ancestorBelowSplit(Position.wrap(position.raw() - 1), parentIndex)).asStateHash();
        } else {
            // The claim is the state before it.
            preState = _valueOf(claimIndex).asStateHash();
            postIndex = _ancestorBelowSplit(Position.wrap(position.raw() + 1), parentIndex);
        }
    }

    // ------------------------------------------------------------------------------------------------ walking up

    /// @dev The claim at `target` among `index` and the claims above it.
    function _ancestor(Position target, uint256 index) internal view returns (uint256) {
        PackedClaim claim = _packed(index);
        while (claim.position().raw() != target.raw()) {
            // ASSUMES: it is there: a position next to a claim's own is covered by a claim on its path. Else Panic(0x32).
            index = claim.parentIndex();
            claim = _packed(index);
        }
        return index;
    }

    /// @dev The claim in the same execution subgame, among `index` and those above it, that speaks about `position`.
    function _ancestorBelowSplit(Position position, uint256 index) internal view returns (uint256) {
        return _ancestor(position.traceAncestorBounded(packedGame.splitDepth()), index);
    }
}

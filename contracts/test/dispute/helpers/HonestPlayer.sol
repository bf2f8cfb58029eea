// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {AlphabetVm} from "./AlphabetVm.sol";
import {GameFixture} from "./GameFixture.sol";
import {Position} from "../../../src/dispute/Position.sol";
import {ClaimData} from "./ClaimData.sol";
import {Claim, claimOf} from "../../../src/dispute/Claim.sol";
import {StateRoot} from "../../../src/dispute/StateRoot.sol";
import {LocalContext} from "../../../src/vm/LocalContext.sol";

/// @title The honest actor over the alphabet VM
/// @notice Written from docs/game.md, "The honest actor", apart from the contract's own code: it finds claims by trace index,
///         not by position.
abstract contract HonestPlayer is GameFixture {
    address internal immutable HONEST = makeAddr("honest");

    /// @notice What there is to do about one claim.
    struct Action {
        uint256 index;
        bool isStep;
        bool isAttack;
        /// @notice The claim to make, for a move.
        Claim claim;
        /// @notice The state to show, for a step.
        bytes state;
    }

    /// @notice Two neighbouring state roots, and the context of the trace between them.
    struct Trace {
        StateRoot starting;
        StateRoot disputed;
        LocalContext context;
    }

    function setUp() public virtual override {
        super.setUp();
        vm.deal(HONEST, 1e9 ether);
    }

    /// @notice Plays until there is nothing left to do.
    function playHonestly() internal {
        for (Action[] memory actions = plan(); actions.length > 0; actions = plan()) {
            for (uint256 i = 0; i < actions.length; ++i) {
                perform(actions[i]);
            }
        }
    }

    function perform(Action memory action) internal {
        if (!action.isStep) {
            moveAs(HONEST, action.index, action.claim, action.isAttack);
            return;
        }
        vm.startPrank(HONEST);
        game.addLocalData(2, action.index, 0);
        game.addLocalData(3, action.index, 0);
        game.step(action.index, action.isAttack, action.state, "");
        vm.stopPrank();
    }

    function readClaims() internal view returns (ClaimData[] memory all) {
        all = new ClaimData[](game.claimDataLen());
        for (uint256 i = 0; i < all.length; ++i) {
            all[i] = claimAt(i);
        }
    }

    // ---------------------------------------------------------------- what is true

    /// @notice The right claim at `position`, in the subgame that `ref` belongs to or, at the split depth, opens.
    function rightClaim(ClaimData[] memory all, uint256 ref, Position position) internal view returns (Claim) {
        if (position.depth() <= S) {
            uint256 t = position.traceIndex(S) + 1;
            return claimOf(alphabet.truth(t < NODES ? t : NODES));
        }
        uint256 steps = position.traceIndex(D) % LEAVES_PER_TRACE + 1;
        return Claim.wrap(alphabet.commitment(stateAt(traceOf(all, ref, position), steps)).raw());
    }

    function stateAt(Trace memory trace, uint256 steps) internal view returns (AlphabetVm.State memory state) {
        state = alphabet.firstState();
        for (uint256 i = 0; i < steps; ++i) {
            state = alphabet.next(state, trace.context, trace.starting, trace.disputed);
        }
    }

    /// @notice The trace that a claim at `position`, below the split depth, is about.
    function traceOf(ClaimData[] memory all, uint256 ref, Position position)
        internal
        view
        returns (Trace memory trace)
    {
        while (all[ref].position.depth() > S) ref = all[ref].parentIndex;
        // All positions of a subgame lie below its root's.
        uint256 execRoot = position.raw() >> (position.depth() - S - 1);
        bool isAttack = execRoot / 2 == all[ref].position.raw();
        uint256 disputedIndex = all[ref].position.indexAtDepth() + (isAttack ? 0 : 1);

        ClaimData memory disputed = byTraceIndex(all, ref, disputedIndex);
        trace.disputed = disputed.claim.asStateRoot();
        if (disputedIndex == 0) {
            trace.starting = alphabet.truth(0);
            trace.context = LocalContext.wrap(keccak256(abi.encode(disputed.claim, uint256(disputed.position.raw()))));
        } else {
            ClaimData memory starting = byTraceIndex(all, ref, disputedIndex - 1);
            trace.starting = starting.claim.asStateRoot();
            bytes memory about = abi.encode(
                starting.claim, uint256(starting.position.raw()), disputed.claim, uint256(disputed.position.raw())
            );
            trace.context = LocalContext.wrap(keccak256(about));
        }
    }

    /// @notice The claim on the path from `index` to the root that speaks about this state root.
    function byTraceIndex(ClaimData[] memory all, uint256 index, uint256 traceIndex)
        internal
        pure
        returns (ClaimData memory)
    {
        while (all[index].position.traceIndex(S) != traceIndex) index = all[index].parentIndex;
        return all[index];
    }

    // ---------------------------------------------------------------- what to do

    function plan() internal view returns (Action[] memory actions) {
        ClaimData[] memory all = readClaims();
        actions = new Action[](all.length);
        uint256 planned = 0;
        // For each claim: is it one that the honest actor makes, and where does the honest answer to it stand (0: none)?
        bytes32[] memory honest = new bytes32[](2 * all.length + 1);
        uint256 honestCount = 0;
        uint128[] memory answerAt = new uint128[](all.length);
        if (all[0].claim == rightClaim(all, 0, all[0].position)) honest[honestCount++] = keyOf(all[0]);

        for (uint256 i = 0; i < all.length; ++i) {
            ClaimData memory c = all[i];
            if (!shouldCounter(all, i, honest, honestCount, answerAt)) continue;
            bool isRight = c.claim == rightClaim(all, i, c.position);
            if (c.position.depth() == D) {
                if (c.counteredBy == address(0)) actions[planned++] = planStep(all, i, isRight);
                continue;
            }
            if (isRight && (i == 0 || c.position.depth() == S + 1)) continue; // nothing comes after it
            ClaimData memory answer;
            answer.parentIndex = uint32(i);
            answer.position = c.position.move(!isRight);
            answer.claim = rightClaim(all, i, answer.position);
            honest[honestCount++] = keyOf(answer);
            answerAt[i] = answer.position.raw();
            if (!isOnChain(all, answer)) {
                actions[planned++] =
                    Action({index: i, isStep: false, isAttack: !isRight, claim: answer.claim, state: ""});
            }
        }
        assembly ("memory-safe") {
            mstore(actions, planned)
        }
    }

    function planStep(ClaimData[] memory all, uint256 index, bool isRight) internal view returns (Action memory) {
        Position position = all[index].position;
        uint256 leaf = position.traceIndex(D) % LEAVES_PER_TRACE;
        // A wrong claim falls by the instruction that leads to it, a right one by the instruction after it.
        AlphabetVm.State memory before = stateAt(traceOf(all, index, position), isRight ? leaf + 1 : leaf);
        return Action({index: index, isStep: true, isAttack: !isRight, claim: Claim.wrap(0), state: abi.encode(before)});
    }

    function shouldCounter(
        ClaimData[] memory all,
        uint256 index,
        bytes32[] memory honest,
        uint256 honestCount,
        uint128[] memory answerAt
    ) internal pure returns (bool) {
        ClaimData memory c = all[index];
        if (isIn(honest, honestCount, keyOf(c))) return false;
        if (index == 0) return true;
        if (isIn(honest, honestCount, keyOf(all[c.parentIndex]))) return true;
        if (answerAt[c.parentIndex] == 0) return false;
        // A freeloader left of our own answer, or at its place, could take the bond; one on the right cannot.
        return c.position.traceIndex(D) <= Position.wrap(answerAt[c.parentIndex]).traceIndex(D);
    }

    function keyOf(ClaimData memory c) internal pure returns (bytes32) {
        return keccak256(abi.encode(c.position, c.claim, c.parentIndex));
    }

    function isIn(bytes32[] memory set, uint256 count, bytes32 key) internal pure returns (bool) {
        for (uint256 i = 0; i < count; ++i) {
            if (set[i] == key) return true;
        }
        return false;
    }

    function isOnChain(ClaimData[] memory all, ClaimData memory c) internal pure returns (bool) {
        for (uint256 i = 0; i < all.length; ++i) {
            if (keyOf(all[i]) == keyOf(c)) return true;
        }
        return false;
    }
}

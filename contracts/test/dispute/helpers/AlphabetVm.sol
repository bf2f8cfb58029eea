// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IFpvm, ILocalPreimageOracle} from "../../../src/dispute/interfaces/IFpvm.sol";
import {StateHash, VmStatus} from "../../../src/vm/StateHash.sol";
import {StateRoot} from "../../../src/dispute/StateRoot.sol";
import {LocalContext} from "../../../src/vm/LocalContext.sol";
import {PreimageKey} from "../../../src/vm/PreimageKey.sol";

/// @title A toy pre-image oracle: local data only, whole words
contract AlphabetOracle is ILocalPreimageOracle {
    /// @notice What `loadLocalData` was last called with.
    struct Load {
        uint256 ident;
        LocalContext localContext;
        bytes32 word;
        uint256 size;
        uint256 partOffset;
        PreimageKey key;
    }

    uint256 public challengePeriod;
    Load internal last;
    mapping(PreimageKey key => bytes32) internal words;
    mapping(PreimageKey key => bool) internal isLoaded;

    error NotLoaded(uint256 ident, LocalContext localContext);

    constructor(uint256 challengePeriod_) {
        challengePeriod = challengePeriod_;
    }

    function loadLocalData(uint256 ident, LocalContext localContext, bytes32 word, uint256 size, uint256 partOffset)
        external
        returns (PreimageKey key)
    {
        key = localKey(msg.sender, ident, localContext);
        words[key] = word;
        isLoaded[key] = true;
        last = Load(ident, localContext, word, size, partOffset, key);
    }

    function read(address owner, uint256 ident, LocalContext localContext) external view returns (bytes32) {
        PreimageKey key = localKey(owner, ident, localContext);
        if (!isLoaded[key]) revert NotLoaded(ident, localContext);
        return words[key];
    }

    function lastLoad() external view returns (Load memory) {
        return last;
    }

    function localKey(address owner, uint256 ident, LocalContext localContext) public pure returns (PreimageKey) {
        bytes32 plain = bytes32((uint256(1) << 248) | ident);
        bytes32 key = keccak256(abi.encode(plain, owner, localContext));
        return PreimageKey.wrap((key & bytes32(type(uint256).max >> 8)) | bytes32(uint256(1) << 248));
    }
}

/// @title A toy VM: spells one letter a step, and at the last step says whether one state root follows another
/// @notice The roots that are true are listed; whatever follows a root that is not listed is the hash of that root.
contract AlphabetVm is IFpvm {
    struct State {
        uint256 stepsDone;
        bytes32 letter;
        uint8 status;
    }

    AlphabetOracle internal immutable ORACLE;
    /// @notice At this step the program exits.
    uint256 public immutable exitStep;

    StateRoot[] public truth;
    mapping(StateRoot root => uint256 indexPlusOne) internal place;

    error BadState(uint256 length);

    constructor(AlphabetOracle oracle_, uint256 exitStep_) {
        ORACLE = oracle_;
        exitStep = exitStep_;
    }

    /// @notice Made-up roots S_0 to S_n become true.
    function setTruth(bytes32 seed, uint256 nodeCount) external {
        setTruth(seed, nodeCount, madeUp(seed, 0), madeUp(seed, nodeCount));
    }

    /// @notice As above, the first and the last as given.
    function setTruth(bytes32 seed, uint256 nodeCount, StateRoot first, StateRoot last) public {
        delete truth;
        for (uint256 t = 0; t <= nodeCount; ++t) {
            StateRoot root = t == 0 ? first : t == nodeCount ? last : madeUp(seed, t);
            truth.push(root);
            place[root] = t + 1;
        }
    }

    function madeUp(bytes32 seed, uint256 t) internal pure returns (StateRoot) {
        return StateRoot.wrap(keccak256(abi.encode(seed, t)));
    }

    function oracle() external view returns (ILocalPreimageOracle) {
        return ORACLE;
    }

    function step(bytes calldata stateData, bytes calldata, LocalContext localContext)
        external
        view
        returns (StateHash)
    {
        if (stateData.length != 96) revert BadState(stateData.length);
        State memory state = abi.decode(stateData, (State));
        if (state.status != VmStatus.UNFINISHED) return commitment(state);
        if (state.stepsDone + 1 < exitStep) {
            return commitment(next(state, localContext, StateRoot.wrap(0), StateRoot.wrap(0)));
        }
        StateRoot starting = StateRoot.wrap(ORACLE.read(msg.sender, 2, localContext));
        StateRoot disputed = StateRoot.wrap(ORACLE.read(msg.sender, 3, localContext));
        return commitment(next(state, localContext, starting, disputed));
    }

    /// @notice The state one step later.
    function next(State memory state, LocalContext localContext, StateRoot starting, StateRoot disputed)
        public
        view
        returns (State memory)
    {
        if (state.status != VmStatus.UNFINISHED) return state;
        bytes32 letter = keccak256(abi.encode(state.letter, localContext, state.stepsDone));
        uint256 done = state.stepsDone + 1;
        if (done < exitStep) return State(done, letter, VmStatus.UNFINISHED);
        return State(done, letter, rootAfter(starting) == disputed ? VmStatus.VALID : VmStatus.INVALID);
    }

    function rootAfter(StateRoot root) public view returns (StateRoot) {
        uint256 found = place[root];
        if (found == 0) return StateRoot.wrap(keccak256(abi.encode(root)));
        return truth[found < truth.length ? found : truth.length - 1];
    }

    function commitment(State memory state) public pure returns (StateHash) {
        bytes32 hash = keccak256(abi.encode(state));
        return StateHash.wrap((hash & bytes32(type(uint256).max >> 8)) | bytes32(uint256(state.status) << 248));
    }

    function firstState() public pure returns (State memory) {
        return State(0, 0, VmStatus.UNFINISHED);
    }
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IFpvm, ILocalPreimageOracle} from "../../../src/dispute/interfaces/IFpvm.sol";
import {VmStatus} from "../../../src/dispute/Types.sol";

/// @title A toy pre-image oracle: local data only, whole words
contract AlphabetOracle is ILocalPreimageOracle {
    /// @notice What `loadLocalData` was last called with.
    struct Load {
        uint256 ident;
        bytes32 localContext;
        bytes32 word;
        uint256 size;
        uint256 partOffset;
        bytes32 key;
    }

    uint256 public challengePeriod;
    Load internal last;
    mapping(bytes32 key => bytes32) internal words;
    mapping(bytes32 key => bool) internal isLoaded;

    error NotLoaded(uint256 ident, bytes32 localContext);

    constructor(uint256 challengePeriod_) {
        challengePeriod = challengePeriod_;
    }

    function loadLocalData(uint256 ident, bytes32 localContext, bytes32 word, uint256 size, uint256 partOffset)
        external
        returns (bytes32 key)
    {
        key = localKey(msg.sender, ident, localContext);
        words[key] = word;
        isLoaded[key] = true;
        last = Load(ident, localContext, word, size, partOffset, key);
    }

    function read(address owner, uint256 ident, bytes32 localContext) external view returns (bytes32) {
        bytes32 key = localKey(owner, ident, localContext);
        if (!isLoaded[key]) revert NotLoaded(ident, localContext);
        return words[key];
    }

    function lastLoad() external view returns (Load memory) {
        return last;
    }

    function localKey(address owner, uint256 ident, bytes32 localContext) public pure returns (bytes32) {
        bytes32 plain = bytes32((uint256(1) << 248) | ident);
        bytes32 key = keccak256(abi.encode(plain, owner, localContext));
        return (key & bytes32(type(uint256).max >> 8)) | bytes32(uint256(1) << 248);
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

    bytes32[] public truth;
    mapping(bytes32 root => uint256 indexPlusOne) internal place;

    error BadState(uint256 length);

    constructor(AlphabetOracle oracle_, uint256 exitStep_) {
        ORACLE = oracle_;
        exitStep = exitStep_;
    }

    /// @notice Made-up roots S_0 to S_n become true.
    function setTruth(bytes32 seed, uint256 nodeCount) external {
        setTruth(seed, nodeCount, keccak256(abi.encode(seed, 0)), keccak256(abi.encode(seed, nodeCount)));
    }

    /// @notice As above, the first and the last as given.
    function setTruth(bytes32 seed, uint256 nodeCount, bytes32 first, bytes32 last) public {
        delete truth;
        for (uint256 t = 0; t <= nodeCount; ++t) {
            bytes32 root = t == 0 ? first : t == nodeCount ? last : keccak256(abi.encode(seed, t));
            truth.push(root);
            place[root] = t + 1;
        }
    }

    function oracle() external view returns (ILocalPreimageOracle) {
        return ORACLE;
    }

    function step(bytes calldata stateData, bytes calldata, bytes32 localContext) external view returns (bytes32) {
        if (stateData.length != 96) revert BadState(stateData.length);
        State memory state = abi.decode(stateData, (State));
        if (state.status != VmStatus.UNFINISHED) return commitment(state);
        if (state.stepsDone + 1 < exitStep) return commitment(next(state, localContext, 0, 0));
        bytes32 starting = ORACLE.read(msg.sender, 2, localContext);
        bytes32 disputed = ORACLE.read(msg.sender, 3, localContext);
        return commitment(next(state, localContext, starting, disputed));
    }

    /// @notice The state one step later.
    function next(State memory state, bytes32 localContext, bytes32 starting, bytes32 disputed)
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

    function rootAfter(bytes32 root) public view returns (bytes32) {
        uint256 found = place[root];
        if (found == 0) return keccak256(abi.encode(root));
        return truth[found < truth.length ? found : truth.length - 1];
    }

    function commitment(State memory state) public pure returns (bytes32) {
        bytes32 hash = keccak256(abi.encode(state));
        return (hash & bytes32(type(uint256).max >> 8)) | bytes32(uint256(state.status) << 248);
    }

    function firstState() public pure returns (State memory) {
        return State(0, 0, VmStatus.UNFINISHED);
    }
}

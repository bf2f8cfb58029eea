// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {FPVM} from "../../src/vm/FPVM.sol";
import {KECCAK256_KEY, PreimageKey, preimageKey} from "../../src/vm/PreimageKey.sol";
import {PreimageOracle} from "../../src/vm/PreimageOracle.sol";
import {
    DivisionByZero,
    ExitedFlagInvalid,
    InvalidExitedValue,
    StateDataLength,
    StateVersionUnsupported,
    SystemCallUnsupported,
    ThreadStackEmpty
} from "../../src/vm/VmErrors.sol";
import {Test} from "../Test.sol";
import {Machine, Witnesses} from "./helpers/Witnesses.sol";
import {LocalContext} from "../../src/vm/LocalContext.sol";
import {StateHash, stateHashOf} from "../../src/vm/StateHash.sol";

/// @notice What a step as a whole promises. (Instruction by instruction, the verifier is held against the engine and
/// against observed results by tests/agreement.)
contract FPVMTest is Test {
    using Witnesses for Machine;

    uint32 internal constant NOP = 0;
    uint32 internal constant SYSCALL = 0x0C;
    uint32 internal constant ADD = 0x00430820; // add r1, r2, r3
    uint32 internal constant DIV = 0x0043001A; // div r2, r3
    uint32 internal constant LW = 0x8C410004; // lw r1, 4(r2)
    uint32 internal constant SW = 0xAC410004; // sw r1, 4(r2)
    uint32 internal constant LL = 0xC0410004; // ll r1, 4(r2)
    uint32 internal constant SC = 0xE0410004; // sc r1, 4(r2)
    uint32 internal constant ADD_S = 0x46031040; // add.s f1, f2, f3
    uint32 internal constant DIV_S = 0x46031043; // div.s f1, f2, f3
    uint32 internal constant SQRT_S = 0x46001044; // sqrt.s f1, f2
    uint32 internal constant MADD_S = 0x4C831060; // madd.s f1, f4, f2, f3

    LocalContext internal constant NO_CONTEXT = LocalContext.wrap(0);

    PreimageOracle internal oracle;
    FPVM internal base;
    FPVM internal ml;

    function setUp() public {
        oracle = new PreimageOracle(126_000, 86_400);
        base = new FPVM(oracle, 8);
        ml = new FPVM(oracle, 136);
    }

    function test_construction() public {
        vm.assertEq(address(base.oracle()), address(oracle));
        vm.assertEq(base.stateVersion(), 8);
        vm.assertEq(ml.stateVersion(), 136);
        vm.assertEq(base.version(), "1.10.1");
        vm.expectRevert(abi.encodeWithSelector(StateVersionUnsupported.selector, 7));
        new FPVM(oracle, 7);
    }

    function test_sizes_fitARealChain() public view {
        vm.assertLt(address(ml).code.length, 24_576);
        vm.assertLt(address(oracle).code.length, 24_576);
    }

    function test_nopInZeroMemory_hasItsCheckValue() public view {
        Machine memory m = Witnesses.blank(false, NOP);
        bytes memory state = m.state();
        vm.assertEq(_statusHash(state, 3).raw(), 0x0355332f6b6ee4b6e3ad4bbfe97d9a6edec737cebc56467a08397324e156d972);
        StateHash next = StateHash.wrap(0x031050a6dbfe5f1d7604f0e51b98212140a0bcd0a45a4ff2196d92fe88a34de0);
        vm.assertEq(base.step(state, m.fullProof(), NO_CONTEXT).raw(), next.raw());
        vm.assertEq(base.step(state, m.compactProof(1), NO_CONTEXT).raw(), next.raw());
    }

    function testFuzz_exited_isAFixedPointAndNeedsNoProof(uint8 exitCode, bytes32 seed) public view {
        bytes memory state = Witnesses.dense(false, ADD, seed).state();
        state[97] = bytes1(exitCode);
        state[98] = 0x01;
        StateHash expected = _statusHash(state, exitCode < 2 ? exitCode : 2);
        vm.assertEq(base.step(state, "", NO_CONTEXT).raw(), expected.raw());
        vm.assertEq(ml.step(state, "", NO_CONTEXT).raw(), expected.raw());
    }

    function testFuzz_malformedState_isRefused(bytes calldata state, uint8 exited) public {
        vm.assume(state.length != 188);
        vm.expectRevert(abi.encodeWithSelector(StateDataLength.selector, state.length, 188));
        base.step(state, "", NO_CONTEXT);
        exited = uint8(bound(exited, 2, 255));
        bytes memory good = Witnesses.blank(false, NOP).state();
        good[98] = bytes1(exited);
        vm.expectRevert(InvalidExitedValue.selector);
        base.step(good, "", NO_CONTEXT);
        vm.expectRevert(abi.encodeWithSelector(ExitedFlagInvalid.selector, exited));
        ml.step(good, "", NO_CONTEXT);
    }

    /// @notice In base states the reasons are those that clients of the published machine know; in ML states they tell more.
    function test_reasons_inBothVersions() public {
        Machine memory call = Witnesses.dense(false, SYSCALL, "reasons");
        call.r[2] = 4999;
        expectReason(call, bytes("MIPS64: unimplemented syscall"));
        call = Witnesses.dense(true, SYSCALL, "reasons");
        call.r[2] = 4999;
        expectError(call, abi.encodeWithSelector(SystemCallUnsupported.selector, 4999));

        Machine memory division = Witnesses.dense(false, DIV, "reasons");
        division.r[3] = 0;
        expectReason(division, bytes("MIPS64: division by zero"));
        division = Witnesses.dense(true, DIV, "reasons");
        division.r[3] = 0;
        expectError(division, abi.encodeWithSelector(DivisionByZero.selector, Witnesses.PC));

        bytes memory state = Witnesses.blank(false, NOP).state();
        for (uint256 i = 0; i < 32; ++i) {
            state[116 + i] = Witnesses.EMPTY_STACK[i];
        }
        vm.expectRevert("MIPS64: active thread stack is empty");
        base.step(state, "", NO_CONTEXT);
        vm.expectRevert(ThreadStackEmpty.selector);
        ml.step(state, "", NO_CONTEXT);
    }

    function expectReason(Machine memory m, bytes memory reason) internal {
        expectError(m, abi.encodeWithSignature("Error(string)", reason));
    }

    function expectError(Machine memory m, bytes memory error_) internal {
        bytes memory state = m.state();
        bytes memory proof = m.fullProof();
        vm.expectRevert(error_);
        (m.isMl ? ml : base).step(state, proof, NO_CONTEXT);
    }

    /// @notice No part of a witness is taken on trust: a flipped bit that is looked at makes another state, or none.
    function testFuzz_flippedBit_changesTheResultOrIsRefused(bytes32 seed, uint256 which, uint256 bit) public view {
        uint32[4] memory insns = [ADD, LW, SW, LL];
        uint32 insn = insns[which % 4];
        Machine memory m = Witnesses.dense(false, insn, seed);
        m.r[2] = Witnesses.DATA;
        bytes memory state = m.state();
        bytes memory proof = m.fullProof();
        StateHash right = base.step(state, proof, NO_CONTEXT);

        uint256 used = insn == ADD ? 330 + 1920 : 330 + 2 * 1920;
        bit = bit % (8 * (188 + used));
        // ll makes a reservation whatever was there before: the only part of a state that it does not carry over.
        vm.assume(insn != LL || bit / 8 < 80 || bit / 8 >= 97);
        bytes memory flipped = bit < 8 * 188 ? state : proof;
        uint256 at = bit < 8 * 188 ? bit : bit - 8 * 188;
        flipped[at / 8] ^= bytes1(uint8(1 << (at % 8)));
        try base.step(state, proof, NO_CONTEXT) returns (StateHash other) {
            vm.assertNotEq(other.raw(), right.raw());
            vm.assertTrue(bit < 8 * 188, "a proof with a flipped bit passed");
        } catch {}
    }

    function testFuzz_unusedParts_areNotLookedAt(bytes32 seed, bytes calldata junk) public view {
        Machine memory m = Witnesses.dense(false, ADD, seed);
        bytes memory state = m.state();
        bytes memory needed =
            bytes.concat(abi.encodePacked(m.thread(), Witnesses.EMPTY_STACK), Witnesses.join(m.codeProof()));
        StateHash right = base.step(state, m.fullProof(), NO_CONTEXT);
        vm.assertEq(base.step(state, needed, NO_CONTEXT).raw(), right.raw());
        vm.assertEq(base.step(state, bytes.concat(needed, junk), NO_CONTEXT).raw(), right.raw());
        vm.assertEq(base.step(state, bytes.concat(m.compactProof(1), junk), NO_CONTEXT).raw(), right.raw());
    }

    function testFuzz_encodings_agree(bytes32 seed, uint256 which, uint64 zeroSiblings) public view {
        uint32[4] memory insns = [LW, SW, LL, ADD];
        Machine memory m = Witnesses.dense(true, insns[which % 4], seed);
        m.r[2] = Witnesses.DATA;
        for (uint256 i = 0; i < 59; ++i) {
            if ((zeroSiblings >> i) & 1 == 1) m.siblings[i] = Witnesses.zeroRoot(5 + i);
        }
        vm.assertEq(
            ml.step(m.state(), m.compactProof(2), NO_CONTEXT).raw(), ml.step(m.state(), m.fullProof(), NO_CONTEXT).raw()
        );
    }

    function testFuzz_tensorMap_replacesTheSubtreeAlone(bytes32 seed) public view {
        Machine memory m = _tensorCall(7001, seed);
        StateHash full = ml.step(m.state(), m.fullProof(), NO_CONTEXT);
        StateHash compact = ml.step(m.state(), m.compactProof(3), NO_CONTEXT);
        Machine memory next = _returned(m);
        next.siblings[35] = m.dataLeaf;
        vm.assertEq(full.raw(), _hashAfter(next).raw());
        vm.assertEq(compact.raw(), full.raw());
    }

    function testFuzz_tensorRoot_writesTheLeafAlone(bytes32 seed) public view {
        Machine memory m = _tensorCall(7002, seed);
        StateHash full = ml.step(m.state(), m.fullProof(), NO_CONTEXT);
        StateHash compact = ml.step(m.state(), m.compactProof(3), NO_CONTEXT);
        Machine memory next = _returned(m);
        next.dataLeaf = m.siblings[35];
        vm.assertEq(full.raw(), _hashAfter(next).raw());
        vm.assertEq(compact.raw(), full.raw());
    }

    function testFuzz_tensorCalls_verifyEveryPart(bytes32 seed, uint256 bit, bool isMap) public {
        Machine memory m = _tensorCall(isMap ? 7001 : 7002, seed);
        bytes memory proof = m.fullProof();
        bit = bit % (8 * (462 + 2 * 1920 + 32 * 25));
        proof[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
        bytes memory state = m.state();
        vm.expectRevert();
        ml.step(state, proof, NO_CONTEXT);
    }

    function testFuzz_tensorCalls_refuseBadArguments(
        bytes32 seed,
        uint64 addr,
        uint64 log2Size,
        uint64 leaf,
        bool isMap
    ) public view {
        uint256 k = log2Size % 70;
        bool isGood = k >= 5 && k < 64 && addr % (uint256(1) << k) == 0 && leaf % 32 == 0 && (leaf >> k != addr >> k);
        vm.assume(!isGood);
        Machine memory m = _tensorCall(isMap ? 7001 : 7002, seed);
        (m.r[4], m.r[5], m.r[6]) = (addr, uint64(k), leaf);
        Machine memory next = _returned(m);
        next.r[2] = 22; // EINVAL
        next.r[7] = type(uint64).max;
        vm.assertEq(ml.step(m.state(), m.compactProof(1), NO_CONTEXT).raw(), _hashAfter(next).raw());
    }

    function testFuzz_baseVersion_knowsNoExtension(bytes32 seed, uint256 which) public {
        uint32[6] memory insns = [ADD_S, MADD_S, 0xC4410000, 0xE4410000, uint32(1), SYSCALL];
        Machine memory m = Witnesses.dense(false, insns[which % 6], seed);
        m.r[2] = which % 12 < 6 ? 7001 : 7002;
        bytes memory state = m.state();
        bytes memory proof = m.fullProof();
        vm.expectRevert(bytes(m.insn == SYSCALL ? "MIPS64: unimplemented syscall" : "MIPS64: invalid instruction"));
        base.step(state, proof, NO_CONTEXT);
    }

    function test_localPreimages_areTheCallersOwn() public {
        Machine memory m = _preimageRead(PreimageKey.wrap(bytes32(uint256(1) << 248 | 2)));
        bytes memory state = m.state();
        bytes memory proof = m.fullProof();
        address other = makeAddr("other");
        vm.prank(other);
        oracle.loadLocalData(2, LocalContext.wrap("context"), bytes32(uint256(7)), 32, 0);
        vm.expectRevert("pre-image must exist");
        base.step(state, proof, LocalContext.wrap("context"));
        oracle.loadLocalData(2, LocalContext.wrap("context"), bytes32(uint256(7)), 32, 0);
        vm.expectRevert("pre-image must exist");
        base.step(state, proof, LocalContext.wrap("another context"));

        Machine memory next = _returned(m);
        next.r[2] = 8;
        next.dataLeaf = bytes32(uint256(32) << 192) | ((m.dataLeaf << 64) >> 64);
        next.preimageOffset = 8;
        vm.assertEq(base.step(state, proof, LocalContext.wrap("context")).raw(), _hashAfter(next).raw());
    }

    /// @notice Renews or checks the gas of each kind of step, with dense memory and all parts in the full encoding.
    function test_gas() public {
        oracle.loadKeccak256PreimagePart(0, "pre-image");
        _measure("pop", base, Witnesses.dense(false, ADD, "gas"), true);
        _measure("add", base, Witnesses.dense(false, ADD, "gas"), false);
        _measure("lw", base, _at(Witnesses.dense(false, LW, "gas")), false);
        _measure("sw", base, _at(Witnesses.dense(false, SW, "gas")), false);
        _measure("ll", base, _at(Witnesses.dense(false, LL, "gas")), false);
        Machine memory sc = _at(Witnesses.dense(false, SC, "gas"));
        (sc.reservation, sc.reservedAddress) = (1, Witnesses.DATA + 4);
        _measure("sc", base, sc, false);
        _measure(
            "read of a pre-image, warm oracle",
            base,
            _preimageRead(preimageKey(keccak256("pre-image"), KECCAK256_KEY)),
            false
        );
        _measure("tensor_map", ml, _tensorCall(7001, "gas"), false);
        _measure("tensor_root", ml, _tensorCall(7002, "gas"), false);
        _measure("add.s", ml, _floats(ADD_S), false);
        _measure("madd.s", ml, _floats(MADD_S), false);
        _measure("div.s", ml, _floats(DIV_S), false);
        _measure("sqrt.s", ml, _floats(SQRT_S), false);
        Machine memory sparse = Witnesses.blank(true, LW);
        bytes memory state = _at(sparse).state();
        ml.step(state, sparse.compactProof(2), NO_CONTEXT);
        vm.snapshotGasLastCall("FPVM", "lw, compact proof of sparse memory");
        vm.snapshotValue("FPVM", "size of FPVM", address(ml).code.length);
        vm.snapshotValue("FPVM", "size of PreimageOracle", address(oracle).code.length);
    }

    function _measure(string memory kind, FPVM fpvm, Machine memory m, bool threadExited) internal {
        bytes memory state = m.state();
        bytes memory proof = m.fullProof();
        if (threadExited) {
            proof[9] = 0x01;
            bytes memory thread = m.thread();
            thread[9] = 0x01;
            bytes32 two = keccak256(abi.encode(keccak256("below"), keccak256(thread)));
            for (uint256 i = 0; i < 32; ++i) {
                state[116 + i] = two[i];
                proof[thread.length + i] = keccak256("below")[i];
            }
        }
        fpvm.step(state, proof, NO_CONTEXT);
        vm.snapshotGasLastCall("FPVM", kind);
    }

    /// @dev With the base register of a load or store at the data leaf.
    function _at(Machine memory m) internal pure returns (Machine memory) {
        m.r[2] = Witnesses.DATA;
        return m;
    }

    function _floats(uint32 insn) internal pure returns (Machine memory m) {
        m = Witnesses.dense(true, insn, "gas");
        (m.f[2], m.f[3], m.f[4]) = (0x40490FDB, 0x3F317218, 0x402DF854); // pi, ln 2, e
    }

    function _preimageRead(PreimageKey key) internal pure returns (Machine memory m) {
        m = Witnesses.dense(false, SYSCALL, "read");
        (m.r[2], m.r[4], m.r[5], m.r[6]) = (5000, 5, Witnesses.DATA, 8);
        m.preimageKey = key.raw();
    }

    function _tensorCall(uint64 number, bytes32 seed) internal pure returns (Machine memory m) {
        m = Witnesses.dense(true, SYSCALL, seed);
        (m.r[2], m.r[4], m.r[5], m.r[6]) = (number, Witnesses.SEGMENT, uint64(Witnesses.LOG2_SEGMENT), Witnesses.DATA);
    }

    /// @dev A copy after a successful system call, but for the program counter (see `_hashAfter`).
    function _returned(Machine memory m) internal pure returns (Machine memory next) {
        next = abi.decode(abi.encode(m), (Machine));
        next.r[2] = 0;
        next.r[7] = 0;
    }

    /// @dev Hash of `m`, its step counted and its thread moved on by one instruction.
    function _hashAfter(Machine memory m) internal pure returns (StateHash) {
        bytes memory state = m.state();
        bytes memory thread = m.thread();
        _write(thread, 10, Witnesses.PC + 4);
        _write(thread, 18, Witnesses.PC + 8);
        bytes32 left = keccak256(abi.encode(Witnesses.EMPTY_STACK, keccak256(thread)));
        _write(state, 99, m.step + 1);
        _write(state, 107, m.step % 100_000 + 1);
        for (uint256 i = 0; i < 32; ++i) {
            state[116 + i] = left[i];
        }
        return _statusHash(state, 3);
    }

    function _write(bytes memory data, uint256 at, uint64 value) internal pure {
        for (uint256 i = 0; i < 8; ++i) {
            data[at + i] = bytes8(value)[i];
        }
    }

    function _statusHash(bytes memory state, uint8 status) internal pure returns (StateHash) {
        return stateHashOf(keccak256(state), status);
    }
}

// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {INNER_ROOT, IS_ML, LOCAL_CONTEXT, ORACLE, Frame} from "./Frame.sol";
import {Instructions} from "./Instructions.sol";
import {IPreimageOracle} from "./IPreimageOracle.sol";
import {LEAF, MemoryTree, Proof} from "./MemoryTree.sol";
import {LocalContext} from "./LocalContext.sol";
import {PreimageKey} from "./PreimageKey.sol";
import {Refusals} from "./Refusals.sol";
import {EMPTY_STACK, State} from "./State.sol";
import {Thread} from "./Thread.sol";

/// @title Syscalls
/// @notice System calls: number in R[2], arguments in R[4], R[5], R[6]; results in R[2] (value or errno) and R[7] (0, or
/// all ones after an error).
/// @dev Twin: native/vm/syscalls.c, with the same names in the same order; so functions stand before their first use.
library Syscalls {
    // The system calls of the machine, by number.
    uint256 internal constant SYS_READ = 5000;
    uint256 internal constant SYS_WRITE = 5001;
    uint256 internal constant SYS_OPEN = 5002;
    uint256 internal constant SYS_CLOSE = 5003;
    uint256 internal constant SYS_STAT = 5004;
    uint256 internal constant SYS_FSTAT = 5005;
    uint256 internal constant SYS_LSEEK = 5008;
    uint256 internal constant SYS_MMAP = 5009;
    uint256 internal constant SYS_MPROTECT = 5010;
    uint256 internal constant SYS_MUNMAP = 5011;
    uint256 internal constant SYS_BRK = 5012;
    uint256 internal constant SYS_RT_SIGACTION = 5013;
    uint256 internal constant SYS_RT_SIGPROCMASK = 5014;
    uint256 internal constant SYS_IOCTL = 5015;
    uint256 internal constant SYS_PREAD64 = 5016;
    uint256 internal constant SYS_SCHED_YIELD = 5023;
    uint256 internal constant SYS_MINCORE = 5026;
    uint256 internal constant SYS_MADVISE = 5027;
    uint256 internal constant SYS_NANOSLEEP = 5034;
    uint256 internal constant SYS_SETITIMER = 5036;
    uint256 internal constant SYS_GETPID = 5038;
    uint256 internal constant SYS_CLONE = 5055;
    uint256 internal constant SYS_EXIT = 5058;
    uint256 internal constant SYS_UNAME = 5061;
    uint256 internal constant SYS_FCNTL = 5070;
    uint256 internal constant SYS_READLINK = 5087;
    uint256 internal constant SYS_GETRLIMIT = 5095;
    uint256 internal constant SYS_GETUID = 5100;
    uint256 internal constant SYS_GETGID = 5102;
    uint256 internal constant SYS_SIGALTSTACK = 5129;
    uint256 internal constant SYS_GETTID = 5178;
    uint256 internal constant SYS_FUTEX = 5194;
    uint256 internal constant SYS_SCHED_GETAFFINITY = 5196;
    uint256 internal constant SYS_EXIT_GROUP = 5205;
    uint256 internal constant SYS_EPOLL_CTL = 5208;
    uint256 internal constant SYS_TIMER_CREATE = 5216;
    uint256 internal constant SYS_TIMER_SETTIME = 5217;
    uint256 internal constant SYS_TIMER_DELETE = 5220;
    uint256 internal constant SYS_CLOCK_GETTIME = 5222;
    uint256 internal constant SYS_TGKILL = 5225;
    uint256 internal constant SYS_OPENAT = 5247;
    uint256 internal constant SYS_READLINKAT = 5257;
    uint256 internal constant SYS_EPOLL_PWAIT = 5272;
    uint256 internal constant SYS_EVENTFD2 = 5284;
    uint256 internal constant SYS_EPOLL_CREATE1 = 5285;
    uint256 internal constant SYS_PIPE2 = 5287;
    uint256 internal constant SYS_PRLIMIT64 = 5297;
    uint256 internal constant SYS_GETRANDOM = 5313;
    uint256 internal constant SYS_TENSOR_MAP = 7001;
    uint256 internal constant SYS_TENSOR_ROOT = 7002;

    // Registers.
    uint256 internal constant V0 = 2;
    uint256 internal constant A0 = 4;
    uint256 internal constant A1 = 5;
    uint256 internal constant A2 = 6;
    uint256 internal constant A3 = 7;
    uint256 internal constant SP = 29;

    uint64 internal constant EBADF = 9;
    uint64 internal constant EAGAIN = 11;
    uint64 internal constant EINVAL = 22;

    uint64 internal constant HEAP_END = 0x0000600000000000;
    uint64 internal constant PROGRAM_BREAK = 0x0000400000000000;
    uint64 internal constant PAGE_MASK = 4095;
    uint64 internal constant STEPS_PER_SECOND = 10_000_000;
    uint64 internal constant NANOSECONDS_PER_STEP = 100;
    uint64 internal constant CLONE_FLAGS = 0x00050F00;
    uint8 internal constant BAD_CLONE_EXIT_CODE = 2;
    uint64 internal constant F_GETFD = 1;
    uint64 internal constant F_GETFL = 3;
    uint64 internal constant FUTEX_WAIT_PRIVATE = 128;
    uint64 internal constant FUTEX_WAKE_PRIVATE = 129;
    uint64 internal constant CLOCK_MONOTONIC = 1;
    uint64 internal constant EFD_NONBLOCK = 0x80;

    uint64 internal constant FD_STDIN = 0;
    uint64 internal constant FD_STDOUT = 1;
    uint64 internal constant FD_STDERR = 2;
    uint64 internal constant FD_HINT_READ = 3;
    uint64 internal constant FD_HINT_WRITE = 4;
    uint64 internal constant FD_PREIMAGE_READ = 5;
    uint64 internal constant FD_PREIMAGE_WRITE = 6;
    uint64 internal constant FD_EVENT = 100;

    function finish(uint64 v0, uint64 a3) internal pure {
        Thread.setReg(V0, v0);
        Thread.setReg(A3, a3);
        Thread.advance();
        Thread.commit();
    }

    /// @notice Ends a call with `value`.
    function succeed(uint64 value) internal pure {
        finish(value, 0);
    }

    /// @notice Ends a call with an error.
    function fail(uint64 errno) internal pure {
        finish(errno, type(uint64).max);
    }

    /// @notice Ends a call with 0; the other threads' turn has come.
    function yield_() internal pure {
        Thread.setReg(V0, 0);
        Thread.setReg(A3, 0);
        Thread.advance();
        Thread.preempt();
    }

    /// @notice How many of `count` bytes from `addr` on lie in its aligned 8-byte word.
    function bytesInWord(uint64 addr, uint64 count) internal pure returns (uint64) {
        unchecked {
            uint64 room = 8 - (addr & 7);
            return count < room ? count : room;
        }
    }

    /// @notice Where `count` bytes from `addr` on stand in its word: as a mask, and how far from the word's top, in bits.
    function bytesAt(uint64 addr, uint64 count) internal pure returns (uint64 mask, uint256 shift) {
        unchecked {
            shift = 8 * (addr & 7);
            mask = (~(~uint64(0) >> (8 * count))) >> shift; // shifting by 64 gives 0
        }
    }

    /// @notice The SplitMix64 generator's output for state `x`.
    function splitmix64(uint64 x) internal pure returns (uint64 z) {
        unchecked {
            z = x + 0x9E3779B97F4A7C15;
            z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
            z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
            z = z ^ (z >> 31);
        }
    }

    /// @notice read(fd, buffer, count): at most up to the end of an 8-byte word when it is the pre-image that is read.
    function read() internal view {
        uint64 fd = Thread.reg(A0);
        if (fd == FD_STDIN) return succeed(0);
        if (fd == FD_HINT_READ) return succeed(Thread.reg(A2));
        if (fd == FD_EVENT) return fail(EAGAIN);
        if (fd != FD_PREIMAGE_READ) return fail(EBADF);

        uint64 buffer = Thread.reg(A1);
        Proof proof = MemoryTree.next(LEAF);
        uint64 word = MemoryTree.wordOf(proof.node(), buffer); // ASSUMES: verified by `writeWord`
        PreimageKey key = PreimageKey.wrap(bytes32(Frame.word(State.PREIMAGE_KEY)));
        uint64 offset = Frame.u64(State.PREIMAGE_OFFSET);
        if (key.isLocal()) key = key.localized(msg.sender, LocalContext.wrap(bytes32(Frame.word(LOCAL_CONTEXT))));
        (bytes32 data, uint256 length) = IPreimageOracle(address(uint160(Frame.word(ORACLE)))).readPreimage(key, offset);
        unchecked {
            uint64 count = bytesInWord(buffer, Thread.reg(A2));
            if (length < count) count = uint64(length);
            (uint64 mask, uint256 shift) = bytesAt(buffer, count);
            word = Instructions.merged(word, uint64(uint256(data) >> 192) >> shift, mask);
            Instructions.writeWord(proof, buffer, word);
            Frame.setU64(State.PREIMAGE_OFFSET, offset + count);
            succeed(count);
        }
    }

    /// @notice write(fd, buffer, count): to descriptor 6, bytes of a pre-image key, up to the end of an 8-byte word.
    function write() internal pure {
        uint64 fd = Thread.reg(A0);
        uint64 count = Thread.reg(A2);
        if (fd == FD_STDOUT || fd == FD_STDERR || fd == FD_HINT_WRITE) return succeed(count);
        if (fd == FD_EVENT) return fail(EAGAIN);
        if (fd != FD_PREIMAGE_WRITE) return fail(EBADF);

        unchecked {
            uint64 buffer = Thread.reg(A1);
            uint64 word = MemoryTree.readWord(buffer);
            count = bytesInWord(buffer, count);
            uint256 written = uint256((word << (8 * (buffer & 7))) >> (64 - 8 * count)); // shifting by 64 gives 0
            Frame.setWord(State.PREIMAGE_KEY, (Frame.word(State.PREIMAGE_KEY) << (8 * count)) | written);
            Frame.setU64(State.PREIMAGE_OFFSET, 0);
            succeed(count);
        }
    }

    /// @notice mmap(address, length): fresh zeroed addresses; memory itself needs no preparation.
    function mmap() internal pure {
        unchecked {
            uint64 hint = Thread.reg(A0);
            if (hint != 0) return succeed(hint);
            uint64 length = Thread.reg(A1);
            uint64 size = (length + PAGE_MASK) & ~PAGE_MASK;
            uint64 heap = Frame.u64(State.HEAP);
            uint64 newHeap = heap + size;
            if (newHeap > HEAP_END || newHeap < heap || size < length) return fail(EINVAL);
            Frame.setU64(State.HEAP, newHeap);
            succeed(heap);
        }
    }

    /// @notice clone(flags, stack): the child starts behind the call, with its own stack, and runs next.
    function clone() internal pure {
        unchecked {
            if (Thread.reg(A0) != CLONE_FLAGS) return State.exit(BAD_CLONE_EXIT_CODE); // the thread stays as it is
            uint64 id = Frame.u64(State.NEXT_THREAD_ID);
            uint64 stack = Thread.reg(A1);
            Frame.setU64(State.NEXT_THREAD_ID, id + 1);
            succeed(id);
            // The child is the parent as it now is, but for these fields.
            Frame.setU64(Thread.ID, id);
            Frame.setU8(Thread.EXIT_CODE, 0);
            Frame.setU8(Thread.EXITED, 0);
            Thread.setReg(SP, stack);
            Thread.setReg(V0, 0);
            Thread.push();
        }
    }

    /// @notice exit(code): of the thread; with the last thread the VM exits too.
    function exit() internal pure {
        uint8 code = uint8(Thread.reg(A0));
        Frame.setU8(Thread.EXITED, 1);
        Frame.setU8(Thread.EXIT_CODE, code);
        Thread.commit();
        bool isLast =
            bytes32(Frame.word(INNER_ROOT)) == EMPTY_STACK && bytes32(Frame.word(State.inactiveStack())) == EMPTY_STACK;
        if (isLast) State.exit(code);
    }

    function fcntl() internal pure {
        uint64 fd = Thread.reg(A0);
        uint64 command = Thread.reg(A1);
        if (command != F_GETFD && command != F_GETFL) return fail(EINVAL);
        if (fd > FD_PREIMAGE_WRITE) return fail(EBADF);
        if (command == F_GETFD) return succeed(0);
        bool isWritten = fd == FD_STDOUT || fd == FD_STDERR || fd == FD_HINT_WRITE || fd == FD_PREIMAGE_WRITE;
        succeed(isWritten ? 1 : 0);
    }

    /// @notice futex(address, operation, value): a waiting thread is scheduled again and asks anew.
    function futex() internal pure {
        uint64 operation = Thread.reg(A1);
        if (operation == FUTEX_WAKE_PRIVATE) return yield_();
        if (operation != FUTEX_WAIT_PRIVATE) return fail(EINVAL);
        uint64 addr = Thread.reg(A0);
        if (Instructions.halfOf(MemoryTree.readWord(addr), addr) != Thread.reg(A2) & 0xFFFFFFFF) return fail(EAGAIN);
        yield_();
    }

    /// @notice clock_gettime(clock, buffer): two words; monotonic time is the step counter.
    function clockGettime() internal pure {
        uint64 clock = Thread.reg(A0);
        if (clock > CLOCK_MONOTONIC) return fail(EINVAL);
        unchecked {
            uint64 step = clock == CLOCK_MONOTONIC ? Frame.u64(State.STEP) : 0;
            uint64 buffer = Thread.reg(A1);
            Instructions.writeWord(MemoryTree.next(LEAF), buffer, step / STEPS_PER_SECOND);
            Instructions.writeWord(MemoryTree.next(LEAF), buffer + 8, (step % STEPS_PER_SECOND) * NANOSECONDS_PER_STEP);
        }
        succeed(0);
    }

    /// @notice eventfd2(value, flags): only non-blocking ones, as a read of it would have to block otherwise.
    function eventfd2() internal pure {
        if (Thread.reg(A1) & EFD_NONBLOCK == 0) return fail(EINVAL);
        succeed(FD_EVENT);
    }

    /// @notice getrandom(buffer, count): bytes that depend on the step counter alone.
    function getrandom() internal pure {
        uint64 buffer = Thread.reg(A0);
        uint64 count = bytesInWord(buffer, Thread.reg(A1));
        Proof proof = MemoryTree.next(LEAF);
        uint64 word = MemoryTree.wordOf(proof.node(), buffer); // ASSUMES: verified by `writeWord`
        (uint64 mask,) = bytesAt(buffer, count);
        Instructions.writeWord(proof, buffer, Instructions.merged(word, splitmix64(Frame.u64(State.STEP)), mask));
        succeed(count);
    }

    /// @notice The arguments of a tensor call, and whether they make sense: a size of 2^5 to 2^63 bytes, both addresses
    /// aligned, and the leaf outside the subtree, so that neither's proof depends on the other's content.
    function tensorArguments() internal pure returns (bool ok, uint64 addr, uint256 log2Size, uint64 leafAddress) {
        addr = Thread.reg(A0);
        log2Size = Thread.reg(A1);
        leafAddress = Thread.reg(A2);
        ok = log2Size >= LEAF && log2Size < 64 && addr & ((1 << log2Size) - 1) == 0 && leafAddress & 31 == 0
            && leafAddress >> log2Size != addr >> log2Size;
    }

    /// @notice tensor_map: the subtree becomes the one whose root the leaf holds.
    function tensorMap() internal pure {
        (bool ok, uint64 addr, uint256 log2Size, uint64 leafAddress) = tensorArguments();
        if (!ok) return fail(EINVAL);
        Proof leaf = MemoryTree.next(LEAF);
        MemoryTree.verify(leaf, leafAddress, LEAF);
        MemoryTree.put(MemoryTree.next(log2Size), addr, log2Size, leaf.node());
        State.onReplace(addr, log2Size);
        succeed(0);
    }

    /// @notice tensor_root: the leaf becomes the root of the subtree.
    function tensorRoot() internal pure {
        (bool ok, uint64 addr, uint256 log2Size, uint64 leafAddress) = tensorArguments();
        if (!ok) return fail(EINVAL);
        Proof leaf = MemoryTree.next(LEAF);
        Proof subtree = MemoryTree.next(log2Size);
        MemoryTree.verify(subtree, addr, log2Size);
        MemoryTree.put(leaf, leafAddress, LEAF, subtree.node());
        State.onReplace(leafAddress, LEAF);
        succeed(0);
    }

    // The calls that do nothing and succeed with 0: bit n mod 256 of the mask stands for call n.
    uint256 private constant NO_OPS_LOW = (uint256(1) << (SYS_CLOSE & 0xFF)) | (uint256(1) << (SYS_STAT & 0xFF))
        | (uint256(1) << (SYS_FSTAT & 0xFF)) | (uint256(1) << (SYS_LSEEK & 0xFF))
        | (uint256(1) << (SYS_MPROTECT & 0xFF)) | (uint256(1) << (SYS_MUNMAP & 0xFF))
        | (uint256(1) << (SYS_RT_SIGACTION & 0xFF)) | (uint256(1) << (SYS_RT_SIGPROCMASK & 0xFF))
        | (uint256(1) << (SYS_IOCTL & 0xFF)) | (uint256(1) << (SYS_PREAD64 & 0xFF))
        | (uint256(1) << (SYS_MINCORE & 0xFF)) | (uint256(1) << (SYS_MADVISE & 0xFF))
        | (uint256(1) << (SYS_SETITIMER & 0xFF)) | (uint256(1) << (SYS_GETPID & 0xFF))
        | (uint256(1) << (SYS_UNAME & 0xFF)) | (uint256(1) << (SYS_READLINK & 0xFF))
        | (uint256(1) << (SYS_GETRLIMIT & 0xFF)) | (uint256(1) << (SYS_GETUID & 0xFF))
        | (uint256(1) << (SYS_GETGID & 0xFF)) | (uint256(1) << (SYS_SIGALTSTACK & 0xFF))
        | (uint256(1) << (SYS_SCHED_GETAFFINITY & 0xFF)) | (uint256(1) << (SYS_EPOLL_CTL & 0xFF))
        | (uint256(1) << (SYS_TIMER_CREATE & 0xFF)) | (uint256(1) << (SYS_TIMER_SETTIME & 0xFF))
        | (uint256(1) << (SYS_TIMER_DELETE & 0xFF)) | (uint256(1) << (SYS_TGKILL & 0xFF));
    uint256 private constant NO_OPS_HIGH = (uint256(1) << (SYS_OPENAT & 0xFF)) | (uint256(1) << (SYS_READLINKAT & 0xFF))
        | (uint256(1) << (SYS_EPOLL_PWAIT & 0xFF)) | (uint256(1) << (SYS_EPOLL_CREATE1 & 0xFF))
        | (uint256(1) << (SYS_PIPE2 & 0xFF)) | (uint256(1) << (SYS_PRLIMIT64 & 0xFF));

    /// @notice Calls that do nothing and succeed with 0.
    function isNoOp(uint256 n) internal pure returns (bool) {
        if (n < SYS_READ || n > SYS_PRLIMIT64) return false;
        if (n < SYS_OPENAT) return (NO_OPS_LOW >> (n & 0xFF)) & 1 != 0;
        return (NO_OPS_HIGH >> (n & 0xFF)) & 1 != 0;
    }

    /// @notice Runs the system call, up to and including what becomes of the thread.
    function call() internal view {
        uint256 n = Thread.reg(V0);
        if (n == SYS_READ) read();
        else if (n == SYS_WRITE) write();
        else if (n == SYS_OPEN) fail(EBADF);
        else if (n == SYS_MMAP) mmap();
        else if (n == SYS_BRK) succeed(PROGRAM_BREAK);
        else if (n == SYS_SCHED_YIELD || n == SYS_NANOSLEEP) yield_();
        else if (n == SYS_CLONE) clone();
        else if (n == SYS_EXIT) exit();
        else if (n == SYS_FCNTL) fcntl();
        else if (n == SYS_GETTID) succeed(Frame.u64(Thread.ID));
        else if (n == SYS_FUTEX) futex();
        else if (n == SYS_EXIT_GROUP) State.exit(uint8(Thread.reg(A0))); // the thread stays as it is
        else if (n == SYS_CLOCK_GETTIME) clockGettime();
        else if (n == SYS_EVENTFD2) eventfd2();
        else if (n == SYS_GETRANDOM) getrandom();
        else if (isNoOp(n)) succeed(0);
        else if (n == SYS_TENSOR_MAP && Frame.word(IS_ML) != 0) tensorMap();
        else if (n == SYS_TENSOR_ROOT && Frame.word(IS_ML) != 0) tensorRoot();
        else Refusals.systemCall(uint64(n));
    }
}

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
import {TensorCalls} from "./TensorCalls.sol";
import {Thread} from "./Thread.sol";

/// @title Syscalls
/// @notice System calls: number in R[2], arguments in R[4], R[5], R[6]; results in R[2] (value or errno) and R[7] (0, or
/// all ones after an error).
library Syscalls {
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

    uint64 internal constant FD_STDIN = 0;
    uint64 internal constant FD_STDOUT = 1;
    uint64 internal constant FD_STDERR = 2;
    uint64 internal constant FD_HINT_READ = 3;
    uint64 internal constant FD_HINT_WRITE = 4;
    uint64 internal constant FD_PREIMAGE_READ = 5;
    uint64 internal constant FD_PREIMAGE_WRITE = 6;
    uint64 internal constant FD_EVENT = 100;

    /// @notice Runs the system call, up to and including what becomes of the thread.
    function execute() internal view {
        uint64 n = Thread.reg(2);
        if (n == 5000) read();
        else if (n == 5001) write();
        else if (n == 5002) fail(EBADF); // open
        else if (n == 5009) mmap();
        else if (n == 5012) succeed(PROGRAM_BREAK); // brk
        else if (n == 5023 || n == 5034) yield_(); // sched_yield, nanosleep
        else if (n == 5055) clone();
        else if (n == 5058) exit();
        else if (n == 5070) fcntl();
        else if (n == 5178) succeed(Frame.u64(Thread.ID)); // gettid
        else if (n == 5194) futex();
        else if (n == 5205) State.exit(uint8(Thread.reg(4))); // exit_group: the thread stays as it is
        else if (n == 5222) clockGettime();
        else if (n == 5284) eventfd2();
        else if (n == 5313) getrandom();
        else if (isNoOp(n)) succeed(0);
        else if (n == 7001 && Frame.word(IS_ML) != 0) TensorCalls.map();
        else if (n == 7002 && Frame.word(IS_ML) != 0) TensorCalls.root();
        else Refusals.systemCall(n);
    }

    /// @notice Calls that do nothing and succeed with 0.
    function isNoOp(uint64 n) internal pure returns (bool) {
        if (n < 5000 || n >= 5300) return false;
        // Bit n - 5000 of: close stat fstat lseek mprotect munmap rt_sigaction rt_sigprocmask ioctl pread64 mincore madvise
        // setitimer getpid uname readlink getrlimit getuid getgid sigaltstack sched_getaffinity epoll_ctl timer_create
        // timer_settime timer_delete tgkill; then of: openat readlinkat epoll_pwait epoll_create1 pipe2 prlimit64.
        if (n < 5247) return (NO_OPS_LOW >> (n - 5000)) & 1 != 0;
        return (NO_OPS_HIGH >> (n - 5247)) & 1 != 0;
    }

    uint256 private constant NO_OPS_LOW = (1 << 3) | (1 << 4) | (1 << 5) | (1 << 8) | (1 << 10) | (1 << 11) | (1 << 13)
        | (1 << 14) | (1 << 15) | (1 << 16) | (1 << 26) | (1 << 27) | (1 << 36) | (1 << 38) | (1 << 61) | (1 << 87)
        | (1 << 95) | (1 << 100) | (1 << 102) | (1 << 129) | (1 << 196) | (1 << 208) | (1 << 216) | (1 << 217)
        | (1 << 220) | (1 << 225);
    uint256 private constant NO_OPS_HIGH = (1 << 0) | (1 << 10) | (1 << 25) | (1 << 38) | (1 << 40) | (1 << 50);

    /// @notice read(fd, buffer, count): at most up to the end of an 8-byte word when it is the pre-image that is read.
    function read() internal view {
        uint64 fd = Thread.reg(4);
        if (fd == FD_STDIN) return succeed(0);
        if (fd == FD_HINT_READ) return succeed(Thread.reg(6));
        if (fd == FD_EVENT) return fail(EAGAIN);
        if (fd != FD_PREIMAGE_READ) return fail(EBADF);

        uint64 buffer = Thread.reg(5);
        Proof proof = MemoryTree.next(LEAF);
        uint64 word = MemoryTree.wordOf(proof.node(), buffer); // ASSUMES: verified by `writeWord`
        PreimageKey key = PreimageKey.wrap(bytes32(Frame.word(State.PREIMAGE_KEY)));
        uint64 offset = Frame.u64(State.PREIMAGE_OFFSET);
        if (key.isLocal()) key = key.localized(msg.sender, LocalContext.wrap(bytes32(Frame.word(LOCAL_CONTEXT))));
        (bytes32 data, uint256 length) = IPreimageOracle(address(uint160(Frame.word(ORACLE)))).readPreimage(key, offset);
        unchecked {
            uint64 count = bytesInWord(buffer, Thread.reg(6));
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
        uint64 fd = Thread.reg(4);
        uint64 count = Thread.reg(6);
        if (fd == FD_STDOUT || fd == FD_STDERR || fd == FD_HINT_WRITE) return succeed(count);
        if (fd == FD_EVENT) return fail(EAGAIN);
        if (fd != FD_PREIMAGE_WRITE) return fail(EBADF);

        unchecked {
            uint64 buffer = Thread.reg(5);
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
            uint64 hint = Thread.reg(4);
            if (hint != 0) return succeed(hint);
            uint64 length = Thread.reg(5);
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
            if (Thread.reg(4) != CLONE_FLAGS) return State.exit(BAD_CLONE_EXIT_CODE); // the thread stays as it is
            uint64 id = Frame.u64(State.NEXT_THREAD_ID);
            uint64 stack = Thread.reg(5);
            Frame.setU64(State.NEXT_THREAD_ID, id + 1);
            succeed(id);
            // The child is the parent as it now is, but for these fields.
            Frame.setU64(Thread.ID, id);
            Frame.setU8(Thread.EXIT_CODE, 0);
            Frame.setU8(Thread.EXITED, 0);
            Thread.setReg(29, stack);
            Thread.setReg(2, 0);
            Thread.push();
        }
    }

    /// @notice exit(code): of the thread; with the last thread the VM exits too.
    function exit() internal pure {
        uint8 code = uint8(Thread.reg(4));
        Frame.setU8(Thread.EXITED, 1);
        Frame.setU8(Thread.EXIT_CODE, code);
        Thread.commit();
        bool isLast =
            bytes32(Frame.word(INNER_ROOT)) == EMPTY_STACK && bytes32(Frame.word(State.inactiveStack())) == EMPTY_STACK;
        if (isLast) State.exit(code);
    }

    function fcntl() internal pure {
        uint64 fd = Thread.reg(4);
        uint64 command = Thread.reg(5);
        if (command != 1 && command != 3) return fail(EINVAL);
        if (fd > FD_PREIMAGE_WRITE) return fail(EBADF);
        if (command == 1) return succeed(0); // F_GETFD
        bool isWritten = fd == FD_STDOUT || fd == FD_STDERR || fd == FD_HINT_WRITE || fd == FD_PREIMAGE_WRITE;
        succeed(isWritten ? 1 : 0); // F_GETFL
    }

    /// @notice futex(address, operation, value): whoever waits is scheduled again and asks anew.
    function futex() internal pure {
        uint64 operation = Thread.reg(5);
        if (operation == 129) return yield_(); // wake
        if (operation != 128) return fail(EINVAL);
        uint64 addr = Thread.reg(4); // wait
        if (Instructions.halfOf(MemoryTree.readWord(addr), addr) != Thread.reg(6) & 0xFFFFFFFF) return fail(EAGAIN);
        yield_();
    }

    /// @notice clock_gettime(clock, buffer): two words; monotonic time is the step counter.
    function clockGettime() internal pure {
        uint64 clock = Thread.reg(4);
        if (clock > 1) return fail(EINVAL);
        unchecked {
            uint64 step = clock == 1 ? Frame.u64(State.STEP) : 0;
            uint64 buffer = Thread.reg(5);
            Instructions.writeWord(MemoryTree.next(LEAF), buffer, step / STEPS_PER_SECOND);
            Instructions.writeWord(MemoryTree.next(LEAF), buffer + 8, (step % STEPS_PER_SECOND) * NANOSECONDS_PER_STEP);
        }
        succeed(0);
    }

    function eventfd2() internal pure {
        // Only non-blocking ones (0x80), as a read of it would have to block otherwise.
        if (Thread.reg(5) & 0x80 == 0) return fail(EINVAL);
        succeed(FD_EVENT);
    }

    /// @notice getrandom(buffer, count): bytes that depend on the step counter alone.
    function getrandom() internal pure {
        uint64 buffer = Thread.reg(4);
        uint64 count = bytesInWord(buffer, Thread.reg(5));
        Proof proof = MemoryTree.next(LEAF);
        uint64 word = MemoryTree.wordOf(proof.node(), buffer); // ASSUMES: verified by `writeWord`
        (uint64 mask,) = bytesAt(buffer, count);
        Instructions.writeWord(proof, buffer, Instructions.merged(word, splitmix64(Frame.u64(State.STEP)), mask));
        succeed(count);
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

    /// @notice Ends a call with `value`.
    function succeed(uint64 value) internal pure {
        finish(value, 0);
    }

    /// @notice Ends a call with an error.
    function fail(uint64 errno) internal pure {
        finish(errno, type(uint64).max);
    }

    function finish(uint64 r2, uint64 r7) internal pure {
        Thread.setReg(2, r2);
        Thread.setReg(7, r7);
        Thread.advance();
        Thread.commit();
    }

    /// @notice Ends a call with 0; the other threads' turn has come.
    function yield_() internal pure {
        Thread.setReg(2, 0);
        Thread.setReg(7, 0);
        Thread.advance();
        Thread.preempt();
    }
}

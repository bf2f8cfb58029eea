/* Runs made-up programs on another processor than this one, interpreted and compiled: tests/hostile/elsewhere.py.
 *
 * A second job of the program of tests/determinism/replay.c. Standard input is a list of moves, a letter each and its
 * numbers, each u64 in the machine's order:
 *   n ml                  new machines: one interprets, one compiles at once, one as real runs do, but early
 *   w address size bytes  to memory                     z address size      zeros
 *   t address log2_size   an unknown subtree            f                   go on with forks
 *   r index value         a register                    j pc                jump
 *   x kind index bit      a bit flipped                 u steps             run
 * After each run the answers of all three go to standard output: a fault's number, the step, the state hash (zeros
 * where there is none), the entries of compiled code there are. */
#include "bare.h"
#include "vm/machine.h"
#include <stdlib.h>
#include <string.h>

enum { MACHINES = 3 };
static const int EXECUTIONS[MACHINES] = {0, 2, 3};

int run_machines(void);
struct machine *opml_machine_new(int ml, uint64_t memory_limit_bytes);
void opml_machine_free(struct machine *machine);
struct machine *opml_machine_fork(struct machine *machine);
int opml_machine_run(struct machine *machine, uint64_t max_steps);
int opml_machine_compile(struct machine *machine, int how);
void opml_machine_compiled(const struct machine *machine, int64_t out[static 3]);
int opml_machine_zero(struct machine *machine, uint64_t address, uint64_t size);
int opml_machine_put_subtree(struct machine *machine, uint64_t address, unsigned log2_size,
                             const uint8_t root[static HASH_BYTES]);
int opml_machine_state(struct machine *machine, uint8_t witness[static STATE_BYTES], uint8_t hash[static HASH_BYTES]);
int opml_machine_flip(struct machine *machine, unsigned kind, uint64_t index, unsigned bit);

static void answer(struct machine *machine, uint64_t fault)
{
    uint8_t witness[STATE_BYTES], hash[HASH_BYTES] = {0};
    int64_t compiled[3];
    if (opml_machine_state(machine, witness, hash) != 0)
        memset(hash, 0, sizeof hash);
    opml_machine_compiled(machine, compiled);
    uint64_t step = machine->vm.step, entries = (uint64_t)compiled[0];
    bare_put(&fault, sizeof fault);
    bare_put(&step, sizeof step);
    bare_put(hash, sizeof hash);
    bare_put(&entries, sizeof entries);
}

static struct thread *to_change(struct machine *machine)
{
    struct stack *stack = &machine->stacks[active_side(&machine->vm)];
    if (stack->count != 0 && stack->known > stack->count - 1)
        stack->known = stack->count - 1;
    return active_thread(machine);
}

static void make(struct machine *machines[static MACHINES], int ml)
{
    for (unsigned i = 0; i < MACHINES; i++) {
        opml_machine_free(machines[i]);
        machines[i] = opml_machine_new(ml, 1 << 27);
        if (machines[i] == NULL || !opml_machine_compile(machines[i], EXECUTIONS[i]))
            bare_stop("machines: no memory");
    }
}

static void fork_all(struct machine *machines[static MACHINES])
{
    for (unsigned i = 0; i < MACHINES; i++) {
        struct machine *fork = opml_machine_fork(machines[i]);
        if (fork == NULL || !opml_machine_compile(fork, EXECUTIONS[i]))
            bare_stop("machines: no memory");
        opml_machine_free(machines[i]);
        machines[i] = fork;
    }
}

/* What a move does to one machine. */
static void play(struct machine *machine, int move, const uint64_t numbers[static 3], const uint8_t *bytes)
{
    static const uint8_t ROOT[HASH_BYTES] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                             16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};
    struct thread *thread;
    switch (move) {
    case 'w': opml_machine_write(machine, numbers[0], bytes, numbers[1]); break;
    case 'z': opml_machine_zero(machine, numbers[0], numbers[1]); break;
    case 't': opml_machine_put_subtree(machine, numbers[0], (unsigned)numbers[1], ROOT); break;
    case 'x': opml_machine_flip(machine, (unsigned)numbers[0], numbers[1], (unsigned)numbers[2]); break;
    case 'u': answer(machine, (uint64_t)opml_machine_run(machine, numbers[0])); break;
    case 'r':
        if ((thread = to_change(machine)) != NULL)
            thread->r[numbers[0] & 31] = numbers[1];
        break;
    case 'j':
        if ((thread = to_change(machine)) != NULL) {
            thread->pc = numbers[0];
            thread->next_pc = numbers[0] + 4;
        }
        break;
    default: bare_stop("machines: a move that there is not");
    }
}

int run_machines(void)
{
    static const char MOVES[] = "nwztfrjxu";
    static const unsigned NUMBERS[] = {1, 2, 2, 2, 0, 2, 1, 3, 1};
    struct machine *machines[MACHINES] = {NULL};
    for (char move; bare_get(&move, 1);) {
        const char *known = strchr(MOVES, move);
        if (known == NULL)
            bare_stop("machines: a move that there is not");
        uint64_t numbers[3];
        for (unsigned i = 0; i < NUMBERS[known - MOVES]; i++)
            bare_need(&numbers[i], sizeof numbers[i]);
        uint8_t *bytes = NULL;
        if (move == 'w') {
            bytes = malloc(numbers[1] + 1);
            if (bytes == NULL)
                bare_stop("machines: no memory");
            bare_need(bytes, numbers[1]);
        }
        if (move == 'n')
            make(machines, (int)numbers[0]);
        else if (machines[0] == NULL)
            bare_stop("machines: no machine yet");
        else if (move == 'f')
            fork_all(machines);
        else
            for (unsigned i = 0; i < MACHINES; i++)
                play(machines[i], move, numbers, bytes);
        free(bytes);
    }
    for (unsigned i = 0; i < MACHINES; i++)
        opml_machine_free(machines[i]);
    return 0;
}

/* Thread stacks: room, copies, and the roots that commit to them. docs/vm.md, "Threads". */
#include "machine.h"

bool stack_make_room(struct stack *stack, struct store *store)
{
    if (stack->count < stack->room)
        return true;
    size_t room = stack->room == 0 ? 4 : 2 * stack->room;
    struct thread *threads = store_allocate(store, room * sizeof *threads);
    uint8_t (*onion)[HASH_BYTES] = store_allocate(store, (room + 1) * sizeof *onion);
    if (threads == NULL || onion == NULL) {
        store_free(store, threads, room * sizeof *threads);
        store_free(store, onion, (room + 1) * sizeof *onion);
        return false;
    }
    if (stack->room != 0) {
        memcpy(threads, stack->threads, stack->count * sizeof *threads);
        memcpy(onion, stack->onion, (stack->count + 1) * sizeof *onion);
        store_free(store, stack->threads, stack->room * sizeof *threads);
        store_free(store, stack->onion, (stack->room + 1) * sizeof *onion);
    } else {
        memcpy(onion[0], zero_root(LEAF_LOG2 + 1), HASH_BYTES); /* EMPTY = H(64 zero bytes) */
    }
    stack->threads = threads;
    stack->onion = onion;
    stack->room = room;
    return true;
}

void stack_drop(struct stack *stack)
{
    stack->count--;
    if (stack->known > stack->count)
        stack->known = stack->count;
}

void stack_free(struct stack *stack, struct store *store)
{
    store_free(store, stack->threads, stack->room * sizeof *stack->threads);
    if (stack->room != 0)
        store_free(store, stack->onion, (stack->room + 1) * sizeof *stack->onion);
}

bool stack_copy(const struct stack *from, struct stack *to, struct store *store)
{
    if (from->room == 0)
        return true;
    struct thread *threads = store_allocate(store, from->room * sizeof *threads);
    uint8_t (*onion)[HASH_BYTES] = store_allocate(store, (from->room + 1) * sizeof *onion);
    if (threads == NULL || onion == NULL) {
        store_free(store, threads, from->room * sizeof *threads);
        store_free(store, onion, (from->room + 1) * sizeof *onion);
        return false;
    }
    memcpy(threads, from->threads, from->count * sizeof *threads);
    memcpy(onion, from->onion, (from->count + 1) * sizeof *onion);
    *to = (struct stack){threads, onion, from->count, from->room, from->known};
    return true;
}

void stack_root(struct stack *stack, bool ml, size_t threads, uint8_t out[static HASH_BYTES])
{
    if (stack->room == 0) {
        memcpy(out, zero_root(LEAF_LOG2 + 1), HASH_BYTES);
        return;
    }
    for (; stack->known < threads; stack->known++) {
        memcpy(stack->onion[stack->known + 1], stack->onion[stack->known], HASH_BYTES);
        onion_push(stack->onion[stack->known + 1], &stack->threads[stack->known], ml);
    }
    memcpy(out, stack->onion[threads], HASH_BYTES);
}

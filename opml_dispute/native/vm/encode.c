/* Encodings of threads and states, and their hashes. docs/vm.md, "State", "Threads". */
#include "fpvm.h"

void thread_encode(const struct thread *thread, bool ml, uint8_t out[static BASE_THREAD_BYTES])
{
    store_big64(out, thread->id);
    out[8] = thread->exit_code;
    out[9] = thread->exited;
    store_big64(out + 10, thread->pc);
    store_big64(out + 18, thread->next_pc);
    store_big64(out + 26, thread->lo);
    store_big64(out + 34, thread->hi);
    for (int i = 0; i < 32; i++)
        store_big64(out + 42 + 8 * i, thread->r[i]);
    if (!ml)
        return;
    for (int i = 0; i < 32; i++)
        store_big32(out + 298 + 4 * i, thread->f[i]);
    store_big32(out + 426, thread->fcsr);
}

void thread_decode(struct thread *thread, bool ml, const uint8_t in[static BASE_THREAD_BYTES])
{
    memset(thread, 0, sizeof *thread);
    thread->id = load_big64(in);
    thread->exit_code = in[8];
    thread->exited = in[9];
    thread->pc = load_big64(in + 10);
    thread->next_pc = load_big64(in + 18);
    thread->lo = load_big64(in + 26);
    thread->hi = load_big64(in + 34);
    for (int i = 0; i < 32; i++)
        thread->r[i] = load_big64(in + 42 + 8 * i);
    if (!ml)
        return;
    for (int i = 0; i < 32; i++)
        thread->f[i] = load_big32(in + 298 + 4 * i);
    thread->fcsr = load_big32(in + 426);
}

void onion_push(uint8_t onion[static HASH_BYTES], const struct thread *thread, bool ml)
{
    uint8_t encoded[ML_THREAD_BYTES], hash[HASH_BYTES];
    thread_encode(thread, ml, encoded);
    keccak256(encoded, thread_bytes(ml), hash);
    keccak_pair(onion, hash, onion);
}

void state_encode(const struct vm *vm, const struct roots *roots, uint8_t out[static STATE_BYTES])
{
    memcpy(out, roots->memory_root, 32);
    memcpy(out + 32, vm->preimage_key, 32);
    store_big64(out + 64, vm->preimage_offset);
    store_big64(out + 72, vm->heap);
    out[80] = vm->ll_status;
    store_big64(out + 81, vm->ll_address);
    store_big64(out + 89, vm->ll_owner);
    out[97] = vm->exit_code;
    out[98] = vm->exited;
    store_big64(out + 99, vm->step);
    store_big64(out + 107, vm->slice);
    out[115] = vm->traverse_right;
    memcpy(out + 116, roots->left_stack, 32);
    memcpy(out + 148, roots->right_stack, 32);
    store_big64(out + 180, vm->next_thread_id);
}

void state_decode(struct vm *vm, struct roots *roots, const uint8_t in[static STATE_BYTES])
{
    memcpy(roots->memory_root, in, 32);
    memcpy(vm->preimage_key, in + 32, 32);
    vm->preimage_offset = load_big64(in + 64);
    vm->heap = load_big64(in + 72);
    vm->ll_status = in[80];
    vm->ll_address = load_big64(in + 81);
    vm->ll_owner = load_big64(in + 89);
    vm->exit_code = in[97];
    vm->exited = in[98];
    vm->step = load_big64(in + 99);
    vm->slice = load_big64(in + 107);
    vm->traverse_right = in[115];
    memcpy(roots->left_stack, in + 116, 32);
    memcpy(roots->right_stack, in + 148, 32);
    vm->next_thread_id = load_big64(in + 180);
}

void state_hash(const struct vm *vm, const struct roots *roots, uint8_t out[static HASH_BYTES])
{
    uint8_t witness[STATE_BYTES];
    state_encode(vm, roots, witness);
    keccak256(witness, sizeof witness, out);
    out[0] = vm->exited == 0 ? 3 : vm->exit_code < 2 ? vm->exit_code : 2;
}

/* The pre-images that a machine knows, by key: shared with its forks until one of them adds another. */
#include "export.h"
#include "machine.h"
#include <stdlib.h>

struct preimage {
    struct preimage *next;
    uint8_t key[32];
    uint64_t size;
    uint8_t data[];
};

enum { ORACLE_BUCKETS = 256 };

struct oracle {
    uint64_t references;
    struct preimage *buckets[ORACLE_BUCKETS];
};

static struct preimage **oracle_find(struct oracle *oracle, const uint8_t key[static 32])
{
    /* Hash keys are spread by any byte, local keys (type 1) by the last. */
    struct preimage **place = &oracle->buckets[key[31]];
    while (*place != NULL && memcmp((*place)->key, key, 32) != 0)
        place = &(*place)->next;
    return place;
}

struct oracle *oracle_new(void)
{
    struct oracle *oracle = calloc(1, sizeof *oracle);
    if (oracle != NULL)
        oracle->references = 1;
    return oracle;
}

void oracle_retain(struct oracle *oracle) { oracle->references++; }

void oracle_release(struct oracle *oracle)
{
    if (--oracle->references != 0)
        return;
    for (unsigned i = 0; i < ORACLE_BUCKETS; i++)
        while (oracle->buckets[i] != NULL) {
            struct preimage *preimage = oracle->buckets[i];
            oracle->buckets[i] = preimage->next;
            free(preimage);
        }
    free(oracle);
}

/* Up to 32 bytes from `offset` of uint64(size) ++ data. */
enum reason machine_preimage(struct machine *machine, const uint8_t key[static 32], uint64_t offset,
                             uint8_t data[static 32], size_t *count)
{
    const struct preimage *preimage = *oracle_find(machine->oracle, key);
    if (preimage == NULL || offset >= preimage->size + 8)
        return REASON_UNKNOWN_PREIMAGE;
    uint8_t prefix[8];
    store_big64(prefix, preimage->size);
    uint64_t left = preimage->size + 8 - offset;
    *count = left < 32 ? (size_t)left : 32;
    memset(data, 0, 32);
    for (size_t i = 0; i < *count; i++)
        data[i] = offset + i < 8 ? prefix[offset + i] : preimage->data[offset + i - 8];
    return REASON_NONE;
}

static bool oracle_put(struct oracle *oracle, const uint8_t key[static 32], const uint8_t *data, uint64_t size)
{
    if (size > SIZE_MAX - sizeof(struct preimage))
        return false;
    struct preimage *preimage = malloc(sizeof *preimage + (size_t)size);
    if (preimage == NULL)
        return false;
    struct preimage **place = oracle_find(oracle, key), *old = *place;
    preimage->next = old == NULL ? NULL : old->next;
    memcpy(preimage->key, key, 32);
    preimage->size = size;
    if (size != 0)
        memcpy(preimage->data, data, (size_t)size);
    *place = preimage;
    free(old);
    return true;
}

/* Replaces what was there under that key, for this machine alone. 0: out of memory. */
EXPORT int opml_machine_add_preimage(struct machine *machine, const uint8_t key[static 32], const uint8_t *data,
                                     uint64_t size)
{
    if (machine->oracle->references > 1) {
        struct oracle *own = oracle_new();
        if (own == NULL)
            return 0;
        for (unsigned i = 0; i < ORACLE_BUCKETS; i++)
            for (const struct preimage *old = machine->oracle->buckets[i]; old != NULL; old = old->next)
                if (!oracle_put(own, old->key, old->data, old->size)) {
                    oracle_release(own);
                    return 0;
                }
        oracle_release(machine->oracle);
        machine->oracle = own;
    }
    return oracle_put(machine->oracle, key, data, size);
}

/* The machine knows none from now on; its forks keep theirs. 0: out of memory. */
EXPORT int opml_machine_forget_preimages(struct machine *machine)
{
    struct oracle *none = oracle_new();
    if (none == NULL)
        return 0;
    oracle_release(machine->oracle);
    machine->oracle = none;
    return 1;
}

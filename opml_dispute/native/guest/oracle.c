/* The pre-image oracle, as the guest speaks to it: write a key of 32 bytes, read a length of 8, read the data.
 * docs/vm.md, "Pre-image oracle". The VM moves at most 8 bytes a call, and fewer across an 8-byte boundary, so
 * everything here is aligned and goes word by word. */
#include "system.h"

static void transfer(uint64_t call, uint64_t fd, void *word)
{
    uint64_t failed, moved = system_call(call, fd, (uint64_t)word, 8, &failed);
    if (failed || moved != 8)
        exit_group(EXIT_PANIC);
}

void oracle_local(uint64_t ident, struct leaf *out)
{
    /* Type 1 (local), then the identifier as the key's last byte. */
    struct leaf key = {{1ull << 56, 0, 0, ident}};
    uint64_t length;
    for (unsigned i = 0; i < 4; i++)
        transfer(CALL_WRITE, FD_PREIMAGE_WRITE, &key.word[i]);
    transfer(CALL_READ, FD_PREIMAGE_READ, &length);
    if (length != sizeof *out)
        exit_group(EXIT_PANIC);
    for (unsigned i = 0; i < 4; i++)
        transfer(CALL_READ, FD_PREIMAGE_READ, &out->word[i]);
}

/* What a machine's program wrote to its descriptors since capture began. */
#include "export.h"
#include "machine.h"
#include <stdlib.h>

/* Room for `more` bytes; false if there is no memory for them. */
static bool captured_make_room(struct captured *captured, uint64_t more)
{
    if (captured->size + more <= captured->room)
        return true;
    uint64_t room = 2 * (captured->size + more);
    uint8_t *bytes = realloc(captured->bytes, (size_t)room);
    if (bytes == NULL)
        return false;
    captured->bytes = bytes;
    captured->room = room;
    return true;
}

void machine_wrote(void *context, uint64_t descriptor, uint64_t address, uint64_t size)
{
    struct machine *machine = context;
    struct captured *captured = &machine->captured[descriptor <= 2 ? CAPTURE_OUTPUT : CAPTURE_HINTS];
    uint64_t kept = captured->limit - captured->size;
    if (kept > size)
        kept = size;
    if (kept != 0 && !captured_make_room(captured, kept))
        kept = 0;
    /* Memory that is known by its root only has no bytes to show. */
    if (kept != 0 && memory_read(&machine->memory, address, captured->bytes + captured->size, kept) != MEMORY_OK)
        kept = 0;
    captured->size += kept;
    if (captured->limit != 0)
        captured->lost += size - kept;
}

/* From now on up to `limit` bytes of a capture are kept; what was kept before is forgotten. */
EXPORT void opml_machine_capture(struct machine *machine, uint32_t which, uint64_t limit)
{
    free(machine->captured[which].bytes);
    machine->captured[which] = (struct captured){.limit = limit};
}

/* The bytes kept stay the machine's, until its next run or capture. Returns their number. */
EXPORT uint64_t opml_machine_captured(const struct machine *machine, uint32_t which, const uint8_t **bytes,
                                      uint64_t *lost)
{
    *bytes = machine->captured[which].bytes;
    *lost = machine->captured[which].lost;
    return machine->captured[which].size;
}

/* Forgets the first `count` bytes kept, so that there is room for as many more. */
EXPORT void opml_machine_drop_captured(struct machine *machine, uint32_t which, uint64_t count)
{
    struct captured *captured = &machine->captured[which];
    if (count > captured->size)
        count = captured->size;
    if (count != 0)
        memmove(captured->bytes, captured->bytes + count, captured->size - count);
    captured->size -= count;
}

/* Puts bytes into a capture as if the program had written them; 0 if there is no room. */
EXPORT int opml_machine_put_captured(struct machine *machine, uint32_t which, const uint8_t *bytes, uint64_t count)
{
    struct captured *captured = &machine->captured[which];
    if (count > captured->limit - captured->size || !captured_make_room(captured, count))
        return 0;
    memcpy(captured->bytes + captured->size, bytes, count);
    captured->size += count;
    return 1;
}

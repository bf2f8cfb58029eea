/* Keeping compiled code: found by address, dropped when the words it was made from change or when there is too much. */
#include "compiled.h"
#include <stdlib.h>

static unsigned entry_place(uint64_t pc) { return (unsigned)((pc >> 2) * 0x9e3779b97f4a7c15ull >> 50); }
_Static_assert(ENTRY_PLACES == 1 << (64 - 50), "entry_place");

static unsigned page_place(uint64_t page) { return (unsigned)(page * 0x9e3779b97f4a7c15ull >> 53); }
_Static_assert(COVERED_PLACES == 1 << (64 - 53), "page_place");

struct compiled *compiled_make(struct machine *machine)
{
    struct compiled *compiled = calloc(1, sizeof *compiled);
    if (compiled == NULL)
        return NULL;
    compiled->workspace = translate_workspace();
    compiled->bytes = malloc(REGION_CODE_BYTES);
    if (compiled->workspace == NULL || compiled->bytes == NULL || !code_memory_make(&compiled->memory)) {
        compiled_free(compiled);
        return NULL;
    }
    struct code_data *data = compiled->memory.data;
    data->machine = machine;
    data->vm = &machine->vm;
    data->ready = machine_ready;
    data->to_int = fpu_to_int;
    size_t count =
        translate_common(&compiled->common, data, compiled->bytes, REGION_CODE_BYTES, (uintptr_t)compiled->memory.code);
    if (count == 0 || !code_memory_append(&compiled->memory, compiled->bytes, count)) {
        compiled_free(compiled);
        return NULL;
    }
    compiled->common_bytes = count;
    compiled_forget(compiled);
    return compiled;
}

void compiled_free(struct compiled *compiled)
{
    if (compiled == NULL)
        return;
    for (unsigned i = 0; i < MAX_COVERED; i++)
        free(compiled->pages[i]);
    code_memory_free(&compiled->memory);
    free(compiled->workspace);
    free(compiled->bytes);
    free(compiled);
}

void compiled_forget(struct compiled *compiled)
{
    struct code_data *data = compiled->memory.data;
    for (unsigned i = 0; i < compiled->exit_count; i++)
        data->links[i] = (const void *)compiled->common.leave;
    for (unsigned i = 0; i < JUMP_ENTRIES; i++) /* whatever jumps there is told to leave */
        data->jumps[i] = (struct jump_entry){0, (const void *)compiled->common.leave_indirect};
    memset(compiled->entries, 0, sizeof compiled->entries);
    memset(compiled->page_places, 0, sizeof compiled->page_places);
    compiled->entry_count = compiled->exit_count = compiled->page_count = 0;
    compiled->memory.used = compiled->common_bytes;
    compiled->times_forgotten++;
}

const void *compiled_find(const struct compiled *compiled, uint64_t pc)
{
    for (unsigned place = entry_place(pc);; place = (place + 1) % ENTRY_PLACES) {
        const struct jump_entry *entry = &compiled->entries[place];
        if (entry->code == NULL || entry->pc == pc)
            return entry->code;
    }
}

static void add_entry(struct compiled *compiled, uint64_t pc, const void *code)
{
    unsigned place = entry_place(pc);
    while (compiled->entries[place].code != NULL) {
        if (compiled->entries[place].pc == pc)
            return;
        place = (place + 1) % ENTRY_PLACES;
    }
    compiled->entries[place] = (struct jump_entry){pc, code};
    compiled->entry_count++;
}

/* ---- what it was made from ---- */

struct covered_page *compiled_page(const struct compiled *compiled, uint64_t page)
{
    for (unsigned place = page_place(page); compiled->page_places[place] != 0; place = (place + 1) % COVERED_PLACES) {
        struct covered_page *found = compiled->pages[compiled->page_places[place] - 1];
        if (found->page == page)
            return found;
    }
    return NULL;
}

static struct covered_page *cover(struct compiled *compiled, struct machine *machine, uint64_t index)
{
    struct covered_page *page = compiled_page(compiled, index);
    if (page != NULL)
        return page;
    if (compiled->page_count == MAX_COVERED)
        return NULL;
    page = compiled->pages[compiled->page_count];
    if (page == NULL)
        page = compiled->pages[compiled->page_count] = malloc(sizeof *page);
    if (page == NULL)
        return NULL;
    page->page = index;
    memset(page->made_from, 0, sizeof page->made_from);
    unsigned place = page_place(index);
    while (compiled->page_places[place] != 0)
        place = (place + 1) % COVERED_PLACES;
    compiled->page_places[place] = (uint16_t)(++compiled->page_count);
    /* From now on every store to the page has to say so. */
    struct lookaside *write = &machine->caches->write[index % LOOKASIDE_ENTRIES];
    if (write->page == index)
        write->page = NO_PAGE;
    return page;
}

/* Notes the word at each address that the region was made from. */
static bool cover_region(struct compiled *compiled, struct machine *machine, const struct region *region)
{
    for (unsigned i = 0; i < region->block_count; i++) {
        const struct code_block *block = &region->blocks[i];
        /* One more: the instruction that was left to the interpreter decided where the block ends. */
        for (unsigned at = 0; at <= block->count; at++) {
            uint64_t pc = block->pc + 4 * (uint64_t)at, offset = pc & (MEMORY_PAGE_BYTES - 1);
            uint32_t word;
            if (machine_word(machine, pc, &word) != REASON_NONE)
                continue; /* only that one more: what cannot be read was not compiled */
            struct covered_page *page = cover(compiled, machine, pc >> MEMORY_PAGE_LOG2);
            if (page == NULL)
                return false;
            page->made_from[offset / 4 / 64] |= (uint64_t)1 << (offset / 4 % 64);
            store_big32(page->words + offset, word);
        }
    }
    return true;
}

bool compiled_from(const struct covered_page *page, uint64_t address, unsigned size)
{
    /* By places in the page: behind the last word of the address space the next address is 0. */
    unsigned offset = (unsigned)(address & (MEMORY_PAGE_BYTES - 1));
    for (unsigned word = offset / 4; word <= (offset + size - 1) / 4; word++)
        if (page->made_from[word / 64] >> (word % 64) & 1)
            return true;
    return false;
}

bool compiled_holds(const struct compiled *compiled, struct machine *machine)
{
    for (unsigned i = 0; i < compiled->page_count; i++) {
        const struct covered_page *page = compiled->pages[i];
        for (unsigned word = 0; word < PAGE_INSTRUCTIONS; word++) {
            uint32_t now;
            if (!(page->made_from[word / 64] >> (word % 64) & 1))
                continue;
            if (machine_word(machine, page->page << MEMORY_PAGE_LOG2 | word * 4, &now) != REASON_NONE ||
                now != load_big32(page->words + 4 * word))
                return false;
        }
    }
    return true;
}

/* ---- compiling ---- */

static bool try_to_add(struct compiled *compiled, struct machine *machine, bool *broken)
{
    struct translation translation = {
        .region = &compiled->region,
        .workspace = compiled->workspace,
        .bytes = compiled->bytes,
        .exits = compiled->exits + compiled->exit_count,
        .first_exit = compiled->exit_count,
        .exit_room = MAX_EXITS - compiled->exit_count,
    };
    const uint8_t *code = compiled->memory.code + compiled->memory.used;
    if (compiled->entry_count + MAX_ENTRIES_OF_REGION > MAX_COMPILED ||
        compiled->memory.used + REGION_CODE_BYTES > CODE_BYTES)
        return false;
    if (!translate(&translation, &compiled->common, compiled->memory.data, (uintptr_t)code) ||
        !cover_region(compiled, machine, &compiled->region))
        return false;
    if (!code_memory_append(&compiled->memory, compiled->bytes, translation.count)) {
        *broken = true;
        return false;
    }
    for (unsigned i = 0; i < translation.exit_count; i++)
        compiled->memory.data->links[compiled->exit_count++] = (const void *)compiled->common.leave;
    for (unsigned i = 0; i < translation.entry_count; i++)
        add_entry(compiled, translation.entries[i].pc, code + translation.entries[i].offset);
    return true;
}

const void *compiled_add(struct compiled *compiled, struct machine *machine, uint64_t pc, struct heat *heat,
                         bool *broken)
{
    region_find(&compiled->region, machine, pc, heat);
    if (compiled->region.instruction_count == 0)
        return NULL;
    if (!try_to_add(compiled, machine, broken) && !*broken) {
        compiled_forget(compiled);
        if (!try_to_add(compiled, machine, broken))
            return NULL;
    }
    return *broken ? NULL : compiled_find(compiled, pc);
}

/* What makes running fast and is no part of a machine's state: host pointers to pages, and decoded code. */
#include "machine.h"
#include <stdlib.h>

bool machine_make_caches(struct machine *machine)
{
    if (machine->caches != NULL)
        return true;
    machine->caches = malloc(sizeof *machine->caches);
    if (machine->caches == NULL)
        return false;
    for (unsigned i = 0; i < CODE_PAGES; i++)
        machine->caches->code[i].instructions = NULL;
    machine_forget_all(machine);
    return true;
}

void machine_free_caches(struct machine *machine)
{
    if (machine->caches == NULL)
        return;
    for (unsigned i = 0; i < CODE_PAGES; i++)
        free(machine->caches->code[i].instructions);
    free(machine->caches);
    machine->caches = NULL;
}

void machine_forget_writes(struct machine *machine)
{
    if (machine->caches != NULL)
        for (unsigned i = 0; i < LOOKASIDE_ENTRIES; i++)
            machine->caches->write[i].page = NO_PAGE;
}

void machine_forget_all(struct machine *machine)
{
    if (machine->accelerator != NULL)
        machine->accelerator->changed(machine);
    if (machine->caches == NULL)
        return;
    machine_forget_writes(machine);
    for (unsigned i = 0; i < LOOKASIDE_ENTRIES; i++)
        machine->caches->read[i].page = NO_PAGE;
    for (unsigned i = 0; i < CODE_PAGES; i++)
        machine->caches->code[i].page = NO_PAGE;
}

#include "base/resident.h"

#include <link.h>
#include <malloc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/* The linker wrote addresses into its code: what is in the file is not what runs. (Not with
 * what a distribution builds.) */
static bool has_written_code(const struct dl_phdr_info *object)
{
        for (size_t i = 0; i < object->dlpi_phnum; i++) {
                const ElfW(Phdr) *const h = &object->dlpi_phdr[i];
                const ElfW(Dyn) *d = (const ElfW(Dyn) *) (object->dlpi_addr + h->p_vaddr);

                for (; h->p_type == PT_DYNAMIC && d->d_tag != DT_NULL; d++)
                        if (d->d_tag == DT_TEXTREL ||
                            (d->d_tag == DT_FLAGS && (d->d_un.d_val & DF_TEXTREL)))
                                return true;
        }
        return false;
}

/* Whole pages only: at its ends a segment may share one with what is written to. */
static int forget_unwritten(struct dl_phdr_info *object, size_t size, void *arg)
{
        const uintptr_t page = (uintptr_t) sysconf(_SC_PAGESIZE);

        (void) size;
        (void) arg;
        if (has_written_code(object))
                return 0;
        for (size_t i = 0; i < object->dlpi_phnum; i++) {
                const ElfW(Phdr) *const h = &object->dlpi_phdr[i];
                const uintptr_t at = object->dlpi_addr + h->p_vaddr;
                const uintptr_t from = (at + page - 1) & ~(page - 1);
                const uintptr_t to = (at + h->p_filesz) & ~(page - 1);

                if (h->p_type != PT_LOAD || (h->p_flags & PF_W) || from >= to)
                        continue;
                /* A failure leaves the pages where they are (the kernel's own object). */
                (void) madvise((void *) from, to - from, MADV_DONTNEED);
        }
        return 0;
}

void resident_give_back(void)
{
        malloc_trim(0);
        dl_iterate_phdr(forget_unwritten, NULL);
}

/* The dynamic symbol table of a shared object, read without running anything of it. */
#ifndef CHECK_ELF_FILE_H
#define CHECK_ELF_FILE_H

#include "util.h"

struct names {
    char **items;
    size_t count;
};

struct elf_symbols {
    struct names exports;
    struct names imports;
};

/* NULL, or what is wrong with the file (owned). ELF of the word size and byte order of this host.
 */
char *elf_read_symbols(const char *file, struct elf_symbols *ret);
void elf_symbols_free(struct elf_symbols *symbols);

#endif

/* The dynamic symbol table of a shared object. Each offset is checked against the file's size: the
 * file may be anything. */
#include "elf_file.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct image {
    const unsigned char *bytes;
    size_t len;
};

/* `count` elements of `size` bytes at `offset`; NULL when they are not inside or not aligned. */
static const void *part(const struct image *image, uint64_t offset, uint64_t count, uint64_t size)
{
    if (offset > image->len || count > (image->len - offset) / size)
        return NULL;
    if (size > 1 && offset % sizeof(uint64_t) != 0)
        return NULL;
    return image->bytes + offset;
}

static const Elf64_Ehdr *header(const struct image *image)
{
    const Elf64_Ehdr *elf = part(image, 0, 1, sizeof(*elf));

    if (!elf || memcmp(elf->e_ident, ELFMAG, SELFMAG) != 0 ||
        elf->e_ident[EI_CLASS] != ELFCLASS64 || elf->e_ident[EI_DATA] != ELFDATA2LSB ||
        elf->e_type != ET_DYN || elf->e_shentsize != sizeof(Elf64_Shdr))
        return NULL;
    return elf;
}

static void add_name(struct names *names, const char *name)
{
    char **place = LIST_PUSH(names);

    *place = must_copy(fng_str_from(name));
}

/* Symbols that tools put into every object, and not its author. */
static bool is_of_tools(const char *name)
{
    static const char *const prefixes[] = {"__odr_asan", "__asan_", "__gcov_", "__llvm_", "llvm_"};
    static const char *const names[] = {"_init", "_fini", "_edata", "_end", "__bss_start"};

    for (size_t i = 0; i < COUNT_OF(prefixes); i++)
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static void sort_symbol(const Elf64_Sym *symbol, const char *name, struct elf_symbols *ret)
{
    if (ELF64_ST_BIND(symbol->st_info) == STB_LOCAL || name[0] == 0)
        return;
    if (symbol->st_shndx == SHN_UNDEF)
        add_name(&ret->imports, name);
    else if (ELF64_ST_VISIBILITY(symbol->st_other) == STV_DEFAULT && !is_of_tools(name))
        add_name(&ret->exports, name);
}

static char *read_image(const struct image *image, struct elf_symbols *ret)
{
    const Elf64_Ehdr *elf = header(image);
    const Elf64_Shdr *sections, *table = NULL, *strings;
    const Elf64_Sym *symbols;
    const char *text;

    if (!elf)
        return must_printf("not a 64-bit ELF shared object");
    sections = part(image, elf->e_shoff, elf->e_shnum, sizeof(*sections));
    for (unsigned i = 0; sections && i < elf->e_shnum; i++)
        if (sections[i].sh_type == SHT_DYNSYM)
            table = &sections[i];
    if (!table || table->sh_link >= elf->e_shnum)
        return must_printf("the file has no dynamic symbol table");

    strings = &sections[table->sh_link];
    symbols = part(image, table->sh_offset, table->sh_size / sizeof(*symbols), sizeof(*symbols));
    text = part(image, strings->sh_offset, strings->sh_size, 1);
    if (!symbols || !text || strings->sh_size == 0 || text[strings->sh_size - 1] != 0)
        return must_printf("the dynamic symbol table is damaged");
    for (size_t i = 0; i < table->sh_size / sizeof(*symbols); i++)
        if (symbols[i].st_name < strings->sh_size)
            sort_symbol(&symbols[i], text + symbols[i].st_name, ret);
    return NULL;
}

char *elf_read_symbols(const char *file, struct elf_symbols *ret)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    struct image image;
    struct stat st;
    char *wrong;
    void *bytes;

    memset(ret, 0, sizeof(*ret));
    if (fd < 0 || fstat(fd, &st) != 0 || st.st_size == 0) {
        wrong = must_printf("cannot be read: %s", fd < 0 ? strerror(errno) : "it is empty");
        if (fd >= 0)
            close(fd);
        return wrong;
    }
    bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (bytes == MAP_FAILED)
        return must_printf("cannot be read: %s", strerror(errno));
    image = (struct image){bytes, (size_t)st.st_size};
    wrong = read_image(&image, ret);
    munmap(bytes, (size_t)st.st_size);
    return wrong;
}

static void names_free(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->items[i]);
    free(names->items);
}

void elf_symbols_free(struct elf_symbols *symbols)
{
    names_free(&symbols->exports);
    names_free(&symbols->imports);
}

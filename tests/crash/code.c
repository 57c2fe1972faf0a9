/* SPDX-License-Identifier: ISC */
/*
 * code.c - the functions of a program or library, by its ELF symbol table.
 *
 * The hard thing: what one object file brought into a linked program. Its global functions are known by name; its
 * static ones stand in the program's table behind the name of their source file, which others may share parts of.
 */
#include "crash/crash.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define OBJECTS_MAX 8

struct table {
    void *image;
    size_t size, symbols;
    const Elf64_Sym *symbol;
    const char *names;
};

static void table_open(struct table *t, const char *file)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    const Elf64_Shdr *section;
    const Elf64_Ehdr *elf;
    struct stat st;

    ck_assert_msg(fd != -1 && fstat(fd, &st) == 0, "cannot open %s", file);
    t->size = (size_t)st.st_size;
    t->image = mmap(NULL, t->size, PROT_READ, MAP_PRIVATE, fd, 0);
    (void)close(fd);
    ck_assert_ptr_ne(t->image, MAP_FAILED);
    elf = t->image;
    section = (const Elf64_Shdr *)((const char *)t->image + elf->e_shoff);
    t->symbols = 0;
    for (unsigned i = 0; i < elf->e_shnum; i++)
        if (section[i].sh_type == SHT_SYMTAB) {
            t->symbol = (const Elf64_Sym *)((const char *)t->image + section[i].sh_offset);
            t->symbols = section[i].sh_size / sizeof *t->symbol;
            t->names = (const char *)t->image + section[section[i].sh_link].sh_offset;
        }
    ck_assert_msg(t->symbols > 0, "%s has no symbols", file);
}

static void table_close(struct table *t)
{
    (void)munmap(t->image, t->size);
}

static bool is_function(const Elf64_Sym *symbol)
{
    return ELF64_ST_TYPE(symbol->st_info) == STT_FUNC && symbol->st_shndx != SHN_UNDEF && symbol->st_size > 0;
}

static const Elf64_Sym *function_named(const struct table *object, const char *name)
{
    for (size_t i = 0; i < object->symbols; i++)
        if (is_function(&object->symbol[i]) && strcmp(object->names + object->symbol[i].st_name, name) == 0)
            return &object->symbol[i];
    return NULL;
}

static const char *source_of(const struct table *object)
{
    for (size_t i = 0; i < object->symbols; i++)
        if (ELF64_ST_TYPE(object->symbol[i].st_info) == STT_FILE)
            return object->names + object->symbol[i].st_name;
    return "";
}

/* Did OBJECT bring the function NAME, which stands behind the name of file SOURCE? A hidden one is local by now. */
static bool brought(const struct table *object, const char *name, const char *source)
{
    const Elf64_Sym *symbol = function_named(object, name);

    return symbol != NULL && (ELF64_ST_BIND(symbol->st_info) != STB_LOCAL || strcmp(source, source_of(object)) == 0);
}

static int by_address(const void *a, const void *b)
{
    const struct function *x = a, *y = b;

    return x->from < y->from ? -1 : x->from > y->from;
}

static bool brought_by_one(const struct table *part, size_t parts, const char *name, const char *source)
{
    for (size_t i = 0; i < parts; i++)
        if (brought(&part[i], name, source))
            return true;
    return false;
}

void code_load(struct code *code, const char *file, const char *const object[])
{
    struct table all, part[OBJECTS_MAX];
    const char *source = "";
    size_t parts = 0;

    (void)snprintf(code->file, sizeof code->file, "%s", file);
    table_open(&all, file);
    for (; object != NULL && object[parts] != NULL; parts++) {
        ck_assert_uint_lt(parts, OBJECTS_MAX);
        table_open(&part[parts], harness_product(object[parts]));
    }
    code->function = calloc(all.symbols, sizeof *code->function);
    code->functions = 0;
    ck_assert_ptr_nonnull(code->function);
    for (size_t i = 0; i < all.symbols; i++) {
        const Elf64_Sym *symbol = &all.symbol[i];
        const char *name = all.names + symbol->st_name;

        if (ELF64_ST_TYPE(symbol->st_info) == STT_FILE)
            source = name;
        if (!is_function(symbol) || (parts > 0 && !brought_by_one(part, parts, name, source)))
            continue;
        code->function[code->functions].from = symbol->st_value;
        code->function[code->functions].to = symbol->st_value + symbol->st_size;
        (void)snprintf(code->function[code->functions++].name, sizeof code->function->name, "%s", name);
    }
    qsort(code->function, code->functions, sizeof *code->function, by_address);
    ck_assert_msg(code->functions > 0, "%s has no functions to be tested", file);
    while (parts > 0)
        table_close(&part[--parts]);
    table_close(&all);
}

void code_free(struct code *code)
{
    free(code->function);
}

uint64_t code_base(const struct code *code, pid_t pid)
{
    char path[64], *line = NULL, real[4096];
    uint64_t base = 0;
    size_t size = 0;
    FILE *maps;

    (void)snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    maps = realpath(code->file, real) != NULL ? fopen(path, "re") : NULL;
    while (maps != NULL && base == 0 && getline(&line, &size, maps) != -1)
        if (strstr(line, real) != NULL)
            base = strtoull(line, NULL, 16);
    free(line);
    if (maps != NULL)
        (void)fclose(maps);
    return base;
}

const struct function *code_function(const struct code *code, uint64_t offset)
{
    size_t low = 0, high = code->functions;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (code->function[middle].to <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low < code->functions && code->function[low].from <= offset ? &code->function[low] : NULL;
}

void code_name(const struct code *code, uint64_t offset, char text[256])
{
    const struct function *function = code_function(code, offset);
    char command[400], line[160] = "";
    FILE *tool;

    (void)snprintf(command, sizeof command, "addr2line -e '%s' %#llx 2>/dev/null", code->file,
                   (unsigned long long)offset);
    tool = popen(command, "re");
    if (tool != NULL) {
        line[fread(line, 1, sizeof line - 1, tool)] = '\0';
        line[strcspn(line, "\n")] = '\0';
        (void)pclose(tool);
    }
    (void)snprintf(text, 256, "%s+%#llx, %s", function != NULL ? function->name : "?",
                   (unsigned long long)(offset - (function != NULL ? function->from : 0)), line);
}

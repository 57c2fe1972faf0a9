/* SPDX-License-Identifier: ISC */
/*
 * faults.c - an object to be preloaded, which makes calls to libc and other libraries fail.
 *
 * The hard thing: functions of any number and kind of arguments have one wrapper. It saves the registers that carry
 * arguments, asks faults_strike(), and then either returns a failure or jumps to the real function with all as it was,
 * so that arguments on the stack are where they belong. Only calls from the code under test count: the return address
 * tells whose one is.
 */
#include "faults/faults.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define X(name, result, kind) F_##name,
enum function {
#include "faults/functions.def"
    FUNCTION_COUNT
};
#undef X

static const struct {
    const char *name;
    long result;
    enum failing failing;
} function[FUNCTION_COUNT] = {
#define X(name, result, kind) [F_##name] = {#name, result, kind},
#include "faults/functions.def"
#undef X
};

/* As the wrapper leaves it on the stack. */
struct frame {
    double xmm[16];
    long rdi, rsi, rdx, rcx, r8, r9, rax, result, pad, rbp, function;
    const char *from;
};

void *faults_strike(struct frame *frame) __attribute__((visibility("hidden")));

#define X(name, result, kind)                                                                                          \
    ".globl " #name "\n.type " #name ", @function\n" #name ":\n pushq $faults_number\n jmp faults_enter\n.size " #name \
    ", . - " #name "\n.set faults_number, faults_number + 1\n"
__asm__(".text\n.set faults_number, 0\n"
#include "faults/functions.def"
        ".type faults_enter, @function\n"
        "faults_enter:\n"
        " pushq %rbp\n movq %rsp, %rbp\n subq $200, %rsp\n"
        " movups %xmm0, (%rsp)\n movups %xmm1, 16(%rsp)\n movups %xmm2, 32(%rsp)\n movups %xmm3, 48(%rsp)\n"
        " movups %xmm4, 64(%rsp)\n movups %xmm5, 80(%rsp)\n movups %xmm6, 96(%rsp)\n movups %xmm7, 112(%rsp)\n"
        " movq %rdi, 128(%rsp)\n movq %rsi, 136(%rsp)\n movq %rdx, 144(%rsp)\n movq %rcx, 152(%rsp)\n"
        " movq %r8, 160(%rsp)\n movq %r9, 168(%rsp)\n movq %rax, 176(%rsp)\n"
        " movq %rsp, %rdi\n call faults_strike\n movq %rax, %r11\n"
        " movups (%rsp), %xmm0\n movups 16(%rsp), %xmm1\n movups 32(%rsp), %xmm2\n movups 48(%rsp), %xmm3\n"
        " movups 64(%rsp), %xmm4\n movups 80(%rsp), %xmm5\n movups 96(%rsp), %xmm6\n movups 112(%rsp), %xmm7\n"
        " movq 128(%rsp), %rdi\n movq 136(%rsp), %rsi\n movq 144(%rsp), %rdx\n movq 152(%rsp), %rcx\n"
        " movq 160(%rsp), %r8\n movq 168(%rsp), %r9\n movq 176(%rsp), %rax\n"
        " testq %r11, %r11\n jz 1f\n leave\n addq $8, %rsp\n jmp *%r11\n"
        "1: movq 184(%rsp), %rax\n leave\n addq $8, %rsp\n ret\n"
        ".size faults_enter, . - faults_enter\n");
#undef X

/* What dlsym() itself may call must be known before. */
extern void *__libc_malloc(size_t size), *__libc_calloc(size_t count, size_t size),
    *__libc_realloc(void *old, size_t size);

static void *real[FUNCTION_COUNT] = {
#ifndef FAULTS_WITHOUT_MALLOC
    [F_malloc] = (void *)__libc_malloc,
    [F_calloc] = (void *)__libc_calloc,
    [F_realloc] = (void *)__libc_realloc,
#endif
};
static struct fault_control *control;
static struct {
    const char *from, *to, *base;
} text[MODULES];

static int note_module(struct dl_phdr_info *info, size_t size, void *unused)
{
    static const char *const names[MODULES] = {"libpglend.so.0", "libpq.so.5", "pglendd", "libuv.so.1"};
    char self[4096] = "";
    const char *path = info->dlpi_name, *name;

    (void)size;
    (void)unused;
    if (*path == '\0' && readlink("/proc/self/exe", self, sizeof self - 1) > 0)
        path = self;
    name = strrchr(path, '/') != NULL ? strrchr(path, '/') + 1 : path;
    for (int m = 0; m < MODULES; m++)
        for (int i = 0; strcmp(name, names[m]) == 0 && i < info->dlpi_phnum; i++)
            if (info->dlpi_phdr[i].p_type == PT_LOAD && (info->dlpi_phdr[i].p_flags & PF_X) != 0) {
                text[m].base = (const char *)info->dlpi_addr;
                text[m].from = text[m].base + info->dlpi_phdr[i].p_vaddr;
                text[m].to = text[m].from + info->dlpi_phdr[i].p_memsz;
            }
    return 0;
}

__attribute__((constructor)) static void begin(void)
{
    const char *file = getenv(FAULTS_FILE);
    int (*really_open)(const char *path, int flags) = (int (*)(const char *, int))dlsym(RTLD_NEXT, "open");
    int fd = file != NULL ? really_open(file, O_RDWR | O_CLOEXEC) : -1;
    void *at;

    (void)dl_iterate_phdr(note_module, NULL);
    if (fd == -1)
        return;
    at = ((void *(*)(void *, size_t, int, int, int, off_t))dlsym(RTLD_NEXT, "mmap"))(
        NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    if (at == MAP_FAILED)
        return;
    control = at;
    if (atomic_load(&control->titled) &&
        strncmp(program_invocation_name, control->title, strlen(control->title)) == 0) {
        (void)atomic_fetch_add(&control->starts, 1);
        atomic_store(&control->calls, 0);
        atomic_store(&control->pid, getpid());
    }
}

/* Whose call to FUNCTION this is; -1: not of the code under test. Of libuv only what it does to make a process. */
static int module_of(const char *from, long f)
{
    for (int m = 0; m < MODULES; m++)
        if (from >= text[m].from && from < text[m].to)
            return control->module[m] && (m != MODULE_LIBUV || function[f].failing == SPAWNING) ? m : -1;
    return -1;
}

/* A packet comes whole or not at all; of a stream one byte may come. */
static bool can_be_short(const struct frame *frame)
{
    int (*ask)(int, int, int, void *, socklen_t *) =
        (int (*)(int, int, int, void *, socklen_t *))dlsym(RTLD_NEXT, "getsockopt");
    int type = 0;
    socklen_t length = sizeof type;
    enum failing failing = function[frame->function].failing;

    if (frame->function == F_recvmsg || frame->function == F_sendmsg || frame->rdx <= 1 ||
        (failing != SENDING && failing != RECEIVING && failing != STORING))
        return false;
    return ask((int)frame->rdi, SOL_SOCKET, SO_TYPE, &type, &length) != 0 || type == SOCK_STREAM;
}

/* Is this call to fail? */
static bool is_struck(const struct frame *frame, int module)
{
    uint32_t n = atomic_fetch_add(&control->calls, 1) + 1;
    uint64_t place = (uint64_t)(frame->from - text[module].base);

    if (n <= CALLS_MAX) {
        struct fault_call *call = &control->call[n - 1];

        call->offset = place;
        call->module = (uint8_t)module;
        call->failing = (uint8_t)function[frame->function].failing;
        strncpy(call->function, function[frame->function].name, FUNCTION_MAX - 1);
    }
    if (n == control->nth)
        control->place = place;
    return control->nth != 0 &&
           (n == control->nth || (n > control->nth && control->for_ever && place == control->place));
}

void *faults_strike(struct frame *frame)
{
    int module;

    if (real[frame->function] == NULL)
        real[frame->function] = dlsym(RTLD_NEXT, function[frame->function].name);
    if (control == NULL || atomic_load(&control->pid) != getpid() ||
        (module = module_of(frame->from, frame->function)) == -1 || !is_struck(frame, module))
        return real[frame->function];
    if (control->error == SHORT) {
        if (can_be_short(frame)) {
            frame->rdx = 1;
            control->hits++;
        }
        return real[frame->function];
    }
    /* Who is interrupted tries again, with reason: no signal comes for ever. */
    if (atomic_fetch_add(&control->hits, 1) >= INTERRUPTIONS && control->error == EINTR)
        return real[frame->function];
    errno = control->error;
    frame->result = function[frame->function].result;
    return NULL;
}

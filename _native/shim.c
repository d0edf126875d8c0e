// shim.c: the rest of what Python may call (ckit.cdef): thin doors to system calls that its
// standard library does not have, and to the one parser.
#include "shim.h"

#include <linux/bpf.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/memfd.h>
#include <linux/openat2.h>

#include "decode.h"
#include "syscalls.h"

#define TRIES 64

#ifndef MFD_EXEC // Linux 6.3
#define MFD_EXEC 0x10u
#endif

long ck_openat2(int directory, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve) {
    struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
    long fd = -EAGAIN; // a rename elsewhere raced with a "..": the kernel asks to try again
    for (int i = 0; i < TRIES && fd == -EAGAIN; i++)
        fd = CK_SYS4(__NR_openat2, directory, path, &how, sizeof(how));
    return fd;
}

long ck_memfd_create_exec(const char *name) {
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    long fd = CK_SYS2(__NR_memfd_create, name, flags | MFD_EXEC);
    return fd == -EINVAL ? CK_SYS2(__NR_memfd_create, name, flags) : fd;
}

long ck_syncfs(int fd) {
    return CK_SYS1(__NR_syncfs, fd);
}

long ck_load_device_filter(const void *program, uint32_t count) {
    union bpf_attr attr = {
        .prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
        .insns = (uintptr_t)program,
        .insn_cnt = count,
        .license = (uintptr_t)"Apache-2.0", // it calls no helper
        .prog_name = "ck_devices",
    };
    return CK_SYS3(__NR_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
}

int ck_check_plan_bytes(const void *steps, size_t size, uint32_t count) {
    struct ck_plan plan = {.steps = steps, .size = (uint32_t)size, .count = count};
    return size > UINT32_MAX ? -EBADMSG : ck_check_plan(&plan);
}

int ck_check_request_bytes(const void *request, size_t size) {
    struct ck_request_view view;
    return ck_open_request(request, size, &view);
}

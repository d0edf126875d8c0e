// shim.h: see shim.c. Every function returns a result or -errno.
#ifndef CK_SHIM_H
#define CK_SHIM_H

#include <stddef.h>
#include <stdint.h>

// openat2(2) with O_CLOEXEC.
long ck_openat2(int directory, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);

// memfd_create(2) for a program: CLOEXEC, sealable, executable.
long ck_memfd_create_exec(const char *name);
long ck_syncfs(int fd);

// A program of `count` struct bpf_insn for BPF_CGROUP_DEVICE, checked by the kernel: a CLOEXEC descriptor.
long ck_load_device_filter(const void *program, uint32_t count);

// decode.h for bytes that are 8-aligned.
int ck_check_plan_bytes(const void *steps, size_t size, uint32_t count);
int ck_check_request_bytes(const void *request, size_t size);

#endif

// monitor_devices.c: the container's device filter, attached to each cgroup that is made for it
// (cgroup-v2.rst, "Device controller"). Compiled and loaded by the caller: we only hand it on.
#include <linux/bpf.h>

#include "monitor.h"

struct attachment { // the first fields of union bpf_attr for BPF_PROG_ATTACH and BPF_PROG_DETACH
    uint32_t cgroup, program, type, flags;
};

static int change(struct ck_monitor *m, int command, uint32_t flags) {
    struct attachment attachment = {(uint32_t)m->cgroup, CK_FD_DEVICES, BPF_CGROUP_DEVICE, flags};
    return (int)CK_SYS3(__NR_bpf, command, &attachment, sizeof(attachment));
}

// MULTI: filters below, of a cgroup namespace's own root for example, can only narrow. EINVAL is also
// said of a program that is there already, in a cgroup that a monitor before us left.
int ck_devices_attach(struct ck_monitor *m) {
    if (!(m->present & 1u << CK_FD_DEVICES))
        return 0;
    int error = change(m, BPF_PROG_ATTACH, BPF_F_ALLOW_MULTI);
    if (error == -EINVAL && change(m, BPF_PROG_DETACH, 0) == 0)
        error = change(m, BPF_PROG_ATTACH, BPF_F_ALLOW_MULTI);
    return error;
}

// limit.c - the physical limit of "start a container": what the kernel itself
// charges for each isolation feature, with no runtime around it.
//
//   cc -O2 -Wall -o limit limit.c
//   ./limit [-n iters] [-c config|all] [-b basedir] [-r rootfs] [-m MiB] [-j jobs] [-x prog] [-w] [-l] [-o]
//   -o writes one line of JSON per config, with every single measurement in us, for bench.py
//
// One process loops: prepare dirs -> clone3 -> child builds its world -> execve
// /bin/true -> waitpid -> remove dirs.  Median / p99 are per iteration.
// Root only; x86-64 only; touches no cgroup except throw-away children it
// creates below the mounted v2 (and, in the *cgv1 config, v1) hierarchies.
//
// clang-format off: one line per thing measured is easier to compare with the kernel's work.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/veth.h>
#include <net/if.h>
#include <arpa/inet.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
  F_FORK = 1 << 0,     // plain fork page-table copy instead of CLONE_VM
  F_UTSIPC = 1 << 1,
  F_PID = 1 << 2,
  F_MNT = 1 << 3,
  F_CGNS = 1 << 4,
  F_NET = 1 << 5,
  F_USER = 1 << 6,
  F_OVL = 1 << 7,      // overlay rootfs + pivot_root
  F_VOLATILE = 1 << 8,
  F_PROC = 1 << 9,
  F_DEV = 1 << 10,
  F_SYS = 1 << 11,
  F_DOCKER = 1 << 12,  // shm, mqueue, masked + read-only paths
  F_SECCOMP = 1 << 13, // docker-sized filter, binary search
  F_CGV2 = 1 << 14,    // mkdir + CLONE_INTO_CGROUP + rmdir
  F_CGV1 = 1 << 15,    // mkdir + write cgroup.procs + rmdir in each v1 hierarchy
  F_VETH = 1 << 16,    // veth into a bridge, address, route
  F_PRENET = 1 << 17,  // join a netns made ahead of time (outside the timing)
  F_BINDROOT = 1 << 18,// read-only bind rootfs instead of overlay
  F_LOUP = 1 << 19,    // bring lo up
  F_SETNS = 1 << 20,   // "exec": join a running container by pidfd
  F_WARM = 1 << 21,    // container fully built ahead of time, waits for a go
  F_LINEAR = 1 << 22,  // ... the same filter as a linear chain
  F_HOSTMNT = 1 << 23, // overlay mounted by the parent on the host side, as docker/podman do
};
#define NS4 (F_UTSIPC | F_PID | F_MNT)
#define NS6 (NS4 | F_CGNS | F_NET)
#define FULL (NS6 | F_OVL | F_VOLATILE | F_PROC | F_DEV | F_SYS | F_LOUP)

struct config { const char *name; unsigned f; const char *what; } configs[] = {
  {"vfork", 0, "CLONE_VM|CLONE_VFORK + exec + wait, no namespaces"},
  {"fork", F_FORK, "fork + exec + wait (small parent)"},
  {"utsipc", F_UTSIPC, "vfork + uts, ipc"},
  {"pid", F_UTSIPC | F_PID, "+ pid"},
  {"mnt", NS4, "+ mnt (pid/uts/ipc/mnt)"},
  {"cgns", NS4 | F_CGNS, "+ cgroup ns"},
  {"net", NS6, "+ net"},
  {"bindroot", NS4 | F_CGNS | F_BINDROOT, "ns without net, ro bind rootfs + pivot_root"},
  {"ovl-sync", NS4 | F_CGNS | F_OVL, "ns without net, overlay (no volatile) + pivot_root"},
  {"ovl", NS4 | F_CGNS | F_OVL | F_VOLATILE, "ns without net, volatile overlay + pivot_root"},
  {"ovl-host", NS4 | F_CGNS | F_OVL | F_VOLATILE | F_HOSTMNT, "same, overlay mounted+unmounted by the parent"},
  {"ovl-hostsync", NS4 | F_CGNS | F_OVL | F_HOSTMNT, "same, without volatile (what docker/podman do)"},
  {"nonet", FULL & ~(F_NET | F_LOUP), "full but sharing the host network"},
  {"full", FULL, "all 6 ns, volatile overlay, proc, dev, devpts, sys, lo up"},
  {"full-fork", FULL | F_FORK, "full, with fork instead of CLONE_VM"},
  {"full-user", FULL | F_USER, "full in a new user namespace (65536-id map)"},
  {"full-prenet", FULL | F_PRENET, "full, netns taken from a pool"},
  {"docker", FULL | F_DOCKER | F_SECCOMP, "full + shm, mqueue, masked/ro paths, seccomp (tree)"},
  {"docker-linear", FULL | F_DOCKER | F_SECCOMP | F_LINEAR, "docker with the linear (libseccomp-style) filter"},
  {"docker-v2", FULL | F_DOCKER | F_SECCOMP | F_CGV2, "docker + v2 cgroup (CLONE_INTO_CGROUP)"},
  {"docker-v1", FULL | F_DOCKER | F_SECCOMP | F_CGV1, "docker + v1 cgroups (attach by write)"},
  {"docker-v2-user", FULL | F_DOCKER | F_SECCOMP | F_CGV2 | F_USER, "docker-v2 in a user namespace"},
  {"docker-v2-prenet", FULL | F_DOCKER | F_SECCOMP | F_CGV2 | F_PRENET, "docker-v2, netns from a pool"},
  {"docker-v2-veth", FULL | F_DOCKER | F_SECCOMP | F_CGV2 | F_VETH, "docker-v2 + veth on a bridge, addr, route"},
  {"exec", F_SETNS, "exec true in a running container (pidfd setns + CLONE_PARENT)"},
  {"warm", F_WARM | FULL | F_DOCKER | F_SECCOMP | F_CGV2, "docker-v2 built ahead; go -> exec -> exit -> wait"},
};
#define NCONF (int)(sizeof configs / sizeof *configs)

enum { T_BEGIN, T_PREP, C_START, C_OVL, C_PROC, C_DEV, C_SYS, C_PIVOT, C_MASK, C_LINK, C_EXEC, T_RUNNING, T_WAITED, T_END, NSTAMP };
static const char *phase_name[NSTAMP] = {"", "prep", "clone", "overlay", "proc", "dev", "sys",
                                         "pivot", "mask", "link", "seccomp", "exec", "exit+wait", "cleanup"};

struct shared {
  uint64_t t[NSTAMP];
  uint32_t go;      // futex: parent -> child
  uint32_t phase;
  int err; const char *errwhat;
};
static struct shared *sh;
static char base[512] = "/tmp/cklimit", rootfs[512] = "/tmp/cklimit-rootfs";
static int json;
static char iterdir[700], upper[760], work[760], merged[760];
static int netns_pool[4096], npool, worker_id;
static char cg2root[256];
static const char *v1h[] = {"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids"};

static inline uint64_t now(void) {
  struct timespec ts; clock_gettime(CLOCK_MONOTONIC, &ts);
  return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}
static void die(const char *w) { perror(w); exit(1); }
static void cdie(const char *w) { sh->err = errno; sh->errwhat = w; syscall(SYS_exit_group, 99); }
#define CK(x) do { if ((x) < 0) cdie(#x); } while (0)

static long clone3_fn(struct clone_args *a, int (*fn)(void *), void *arg) {
  register void *r12 __asm__("r12") = (void *)fn;
  register void *r13 __asm__("r13") = arg;
  long ret;
  __asm__ volatile("syscall\n\ttest %%rax,%%rax\n\tjnz 1f\n\txor %%ebp,%%ebp\n\t"
                   "mov %%r13,%%rdi\n\tcall *%%r12\n\tmov %%eax,%%edi\n\tmov $60,%%eax\n\tsyscall\n1:"
                   : "=a"(ret) : "0"((long)SYS_clone3), "D"(a), "S"(sizeof *a), "r"(r12), "r"(r13)
                   : "rcx", "r11", "memory");
  if (ret < 0) { errno = -ret; return -1; }
  return ret;
}

// ---- seccomp ---------------------------------------------------------------
// Two shapes of one docker-sized allow-list (about 360 of 460 syscalls allowed, in about 120 ranges):
// the linear JEQ chain that libseccomp emits by default for runc/crun, and a
// binary search over ranges.  The kernel emulates the filter once per syscall
// number when it is attached (seccomp_cache_prepare), so the shape is what costs.
static struct sock_fprog prog_lin, prog_tree;
static int deny(int nr) { return (nr > 160 && nr % 7 == 3) || (nr > 160 && nr % 5 == 4 && nr != 334) || nr >= 460; }
static int emit_tree(struct sock_filter *f, int n, const int *start, int lo, int hi) {
  if (hi - lo == 1) {
    f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, deny(start[lo]) ? SECCOMP_RET_ERRNO | EPERM : SECCOMP_RET_ALLOW);
    return n;
  }
  // long form: jt/jf are 8 bits, so jump over a 32-bit JA to reach the right half
  int mid = (lo + hi) / 2, at = n;
  n += 2; n = emit_tree(f, n, start, lo, mid);
  f[at] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, start[mid], 0, 1);
  f[at + 1] = (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, n - (at + 2));
  return emit_tree(f, n, start, mid, hi);
}
static int emit_head(struct sock_filter *f) {
  f[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
  f[1] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
  f[2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
  f[3] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
  return 4;
}
static void make_filter(void) {
  static struct sock_filter l[1200], t[1200]; static int start[500]; int n = emit_head(l), k = 0;
  for (int i = 0; i < 460; i++) if (!deny(i)) {
    l[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, i, 0, 1);
    l[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  }
  l[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
  prog_lin = (struct sock_fprog){.filter = l, .len = n};
  for (int i = 0; i <= 460; i++) if (!i || deny(i) != deny(i - 1)) start[k++] = i;
  n = emit_head(t); n = emit_tree(t, n, start, 0, k);
  prog_tree = (struct sock_fprog){.filter = t, .len = n};
}

// ---- a little rtnetlink -----------------------------------------------------
struct nlreq { struct nlmsghdr h; char b[1024]; };
static void nl_attr(struct nlreq *r, int type, const void *d, int len) {
  struct rtattr *a = (void *)((char *)r + NLMSG_ALIGN(r->h.nlmsg_len));
  a->rta_type = type; a->rta_len = RTA_LENGTH(len);
  if (len) memcpy(RTA_DATA(a), d, len);
  r->h.nlmsg_len = NLMSG_ALIGN(r->h.nlmsg_len) + RTA_ALIGN(a->rta_len);
}
static struct rtattr *nl_nest(struct nlreq *r, int type) {
  struct rtattr *a = (void *)((char *)r + NLMSG_ALIGN(r->h.nlmsg_len));
  nl_attr(r, type, 0, 0); return a;
}
static void nl_end(struct nlreq *r, struct rtattr *a) { a->rta_len = (char *)r + r->h.nlmsg_len - (char *)a; }
static int nl_talk(int s, struct nlreq *r) {
  r->h.nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
  if (send(s, r, r->h.nlmsg_len, 0) < 0) return -1;
  char buf[4096]; int n = recv(s, buf, sizeof buf, 0);
  if (n < 0) return -1;
  struct nlmsghdr *h = (void *)buf;
  if (h->nlmsg_type == NLMSG_ERROR) {
    int e = ((struct nlmsgerr *)NLMSG_DATA(h))->error;
    if (e) { errno = -e; return -1; }
  }
  return 0;
}
static int nl_open(void) { return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE); }
static void nl_link(struct nlreq *r, int type, int index, unsigned up, int flags) {
  memset(r, 0, sizeof *r);
  struct ifinfomsg *i = NLMSG_DATA(&r->h);
  r->h.nlmsg_len = NLMSG_LENGTH(sizeof *i); r->h.nlmsg_type = type; r->h.nlmsg_flags = flags;
  i->ifi_index = index;
  if (up) { i->ifi_flags = IFF_UP; i->ifi_change = IFF_UP; }
}
static int bridge_index, host_nl = -1;
static const char *bridge_name(void) { return "cklimit0"; }
static void bridge_setup(void) {
  host_nl = nl_open();
  struct nlreq r; nl_link(&r, RTM_NEWLINK, 0, 1, NLM_F_CREATE | NLM_F_EXCL);
  nl_attr(&r, IFLA_IFNAME, bridge_name(), strlen(bridge_name()) + 1);
  struct rtattr *li = nl_nest(&r, IFLA_LINKINFO); nl_attr(&r, IFLA_INFO_KIND, "bridge", 6); nl_end(&r, li);
  if (nl_talk(host_nl, &r) < 0 && errno != EEXIST) die("bridge");
  bridge_index = if_nametoindex(bridge_name());
}
static void bridge_teardown(void) {
  struct nlreq r; nl_link(&r, RTM_DELLINK, bridge_index, 0, 0); nl_talk(host_nl, &r); close(host_nl);
}
static int veth_add(int pid, unsigned n) {
  struct nlreq r; char nm[16]; snprintf(nm, sizeof nm, "ckl%d.%x", worker_id, n & 0xffff);
  nl_link(&r, RTM_NEWLINK, 0, 1, NLM_F_CREATE | NLM_F_EXCL);
  nl_attr(&r, IFLA_IFNAME, nm, strlen(nm) + 1);
  nl_attr(&r, IFLA_MASTER, &bridge_index, 4);
  struct rtattr *li = nl_nest(&r, IFLA_LINKINFO); nl_attr(&r, IFLA_INFO_KIND, "veth", 4);
  struct rtattr *da = nl_nest(&r, IFLA_INFO_DATA);
  struct rtattr *pe = nl_nest(&r, VETH_INFO_PEER);
  r.h.nlmsg_len += sizeof(struct ifinfomsg);
  nl_attr(&r, IFLA_IFNAME, "eth0", 5);
  nl_attr(&r, IFLA_NET_NS_PID, &pid, 4);
  nl_end(&r, pe); nl_end(&r, da); nl_end(&r, li);
  return nl_talk(host_nl, &r);
}
static int veth_configure(int s) { // inside the container
  int idx = if_nametoindex("eth0"); struct nlreq r;
  memset(&r, 0, sizeof r);
  struct ifaddrmsg *a = NLMSG_DATA(&r.h);
  r.h.nlmsg_len = NLMSG_LENGTH(sizeof *a); r.h.nlmsg_type = RTM_NEWADDR; r.h.nlmsg_flags = NLM_F_CREATE;
  a->ifa_family = AF_INET; a->ifa_prefixlen = 16; a->ifa_index = idx;
  uint32_t ip = htonl(0x0a640002), gw = htonl(0x0a640001);
  nl_attr(&r, IFA_LOCAL, &ip, 4); nl_attr(&r, IFA_ADDRESS, &ip, 4);
  if (nl_talk(s, &r) < 0) return -1;
  nl_link(&r, RTM_SETLINK, idx, 1, 0);
  if (nl_talk(s, &r) < 0) return -1;
  memset(&r, 0, sizeof r);
  struct rtmsg *t = NLMSG_DATA(&r.h);
  r.h.nlmsg_len = NLMSG_LENGTH(sizeof *t); r.h.nlmsg_type = RTM_NEWROUTE; r.h.nlmsg_flags = NLM_F_CREATE;
  t->rtm_family = AF_INET; t->rtm_table = RT_TABLE_MAIN; t->rtm_protocol = RTPROT_STATIC;
  t->rtm_scope = RT_SCOPE_UNIVERSE; t->rtm_type = RTN_UNICAST;
  nl_attr(&r, RTA_GATEWAY, &gw, 4); nl_attr(&r, RTA_OIF, &idx, 4);
  return nl_talk(s, &r);
}

static void fwait(uint32_t *f, uint32_t v) { // wait while *f == v
  while (__atomic_load_n(f, __ATOMIC_ACQUIRE) == v) syscall(SYS_futex, f, FUTEX_WAIT, v, 0, 0, 0);
}
static void fset(uint32_t *f, uint32_t v) {
  __atomic_store_n(f, v, __ATOMIC_RELEASE); syscall(SYS_futex, f, FUTEX_WAKE, 1, 0, 0, 0);
}

// ---- the child -------------------------------------------------------------
static int target_pidfd = -1;
static char prog_path[64] = "/bin/true", *argv_true[] = {prog_path, 0}, *envp[] = {"PATH=/bin", 0};
static char argv_root[600];
static char exec_stack2[65536] __attribute__((aligned(16)));

static int exec_grandchild(void *a) {
  sh->t[C_EXEC] = now();
  execve(prog_path, argv_true, envp); cdie("exec"); return 1;
}
static void ovl_opts(char *o, size_t n, unsigned f) {
  snprintf(o, n, "lowerdir=%s,upperdir=%s,workdir=%s%s%s", rootfs, upper, work,
           f & F_VOLATILE ? ",volatile" : "", f & F_USER ? ",userxattr" : "");
}
static int child(void *arg) {
  unsigned f = (unsigned)(uintptr_t)arg;
  sh->t[C_START] = now();
  if (f & F_SETNS) {
    CK(setns(target_pidfd, CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP));
    struct clone_args a = {.flags = CLONE_VM | CLONE_VFORK | CLONE_PARENT, .stack = (uintptr_t)exec_stack2, .stack_size = sizeof exec_stack2};
    long p = clone3_fn(&a, exec_grandchild, 0); CK(p);
    sh->phase = p; return 0;
  }
  if (f & (F_USER | F_VETH | F_CGV1)) fwait(&sh->go, 0);
  if (f & F_USER) { CK(syscall(SYS_setresgid, 0, 0, 0)); CK(syscall(SYS_setresuid, 0, 0, 0)); }
  if (f & F_PRENET) CK(setns(netns_pool[npool], CLONE_NEWNET));
  if (f & F_MNT) CK(mount(0, "/", 0, MS_REC | MS_PRIVATE, 0));
  if (f & F_OVL) {
    if (!(f & F_HOSTMNT)) {
      char o[2600]; ovl_opts(o, sizeof o, f);
      CK(mount("overlay", merged, "overlay", 0, o));
    }
    CK(chdir(merged));
  } else if (f & F_BINDROOT) {
    CK(mount(rootfs, merged, 0, MS_BIND, 0)); CK(chdir(merged));
  }
  sh->t[C_OVL] = now();
  if (f & F_PROC) CK(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0));
  sh->t[C_PROC] = now();
  if (f & F_DEV) {
    static const struct { const char *n; int min, maj; } nodes[] = {
      {"null", 3, 1}, {"zero", 5, 1}, {"full", 7, 1}, {"random", 8, 1}, {"urandom", 9, 1}, {"tty", 0, 5}};
    CK(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"));
    for (int i = 0; i < 6; i++) {
      char s[64], d[64]; snprintf(s, 64, "/dev/%s", nodes[i].n); snprintf(d, 64, "dev/%s", nodes[i].n);
      if (f & F_USER) { // no mknod in a userns: bind the host's nodes
        int fd = open(d, O_CREAT | O_CLOEXEC | O_WRONLY, 0666); CK(fd); close(fd);
        CK(mount(s, d, 0, MS_BIND, 0));
      } else { CK(mknod(d, S_IFCHR | 0666, makedev(nodes[i].maj, nodes[i].min))); }
    }
    CK(symlink("/proc/self/fd", "dev/fd")); CK(symlink("/proc/self/fd/0", "dev/stdin"));
    CK(symlink("/proc/self/fd/1", "dev/stdout")); CK(symlink("/proc/self/fd/2", "dev/stderr"));
    CK(mkdir("dev/pts", 0755));
    CK(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"));
    CK(symlink("pts/ptmx", "dev/ptmx"));
    if (f & F_DOCKER) {
      CK(mkdir("dev/shm", 01777)); CK(mkdir("dev/mqueue", 0755));
      CK(mount("shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=65536k"));
      CK(mount("mqueue", "dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0));
    }
  }
  sh->t[C_DEV] = now();
  if (f & F_SYS) CK(mount("sysfs", "sys", "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, 0));
  sh->t[C_SYS] = now();
  if (f & (F_OVL | F_BINDROOT)) {
    CK(syscall(SYS_pivot_root, ".", ".")); CK(umount2(".", MNT_DETACH)); CK(chdir("/"));
  }
  sh->t[C_PIVOT] = now();
  if (f & F_DOCKER) {
    static const char *ro[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
    static const char *mk[] = {"/proc/kcore", "/proc/keys", "/proc/timer_list"};
    static const char *md[] = {"/proc/acpi", "/proc/scsi", "/sys/firmware"};
    for (int i = 0; i < 5; i++) if (!mount(ro[i], ro[i], 0, MS_BIND | MS_REC, 0))
      mount(0, ro[i], 0, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, 0);
    for (int i = 0; i < 3; i++) mount("/dev/null", mk[i], 0, MS_BIND, 0);
    for (int i = 0; i < 3; i++) mount("tmpfs", md[i], "tmpfs", MS_RDONLY, "size=0");
  }
  sh->t[C_MASK] = now();
  if (f & (F_LOUP | F_VETH)) {
    int s = nl_open(); struct nlreq r; CK(s);
    nl_link(&r, RTM_SETLINK, 1, 1, 0); CK(nl_talk(s, &r));
    if (f & F_VETH) CK(veth_configure(s));
    close(s);
  }
  sh->t[C_LINK] = now();
  if (f & F_UTSIPC) CK(sethostname("limit", 5));
  if (f & F_WARM) { fset(&sh->phase, 2); fwait(&sh->go, 0); }
  if (f != 0 && f != F_FORK) CK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  if (f & F_SECCOMP) CK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, f & F_LINEAR ? &prog_lin : &prog_tree, 0, 0));
  sh->t[C_EXEC] = now();
  const char *exe = f & (F_OVL | F_BINDROOT) ? prog_path : argv_root;
  execve(exe, argv_true, envp); cdie("exec"); return 1;
}

// ---- one iteration -----------------------------------------------------------
static char *stk; static unsigned iter_no;
static void wr(const char *p, const char *s) {
  int fd = open(p, O_WRONLY | O_CLOEXEC); if (fd < 0) die(p);
  if (write(fd, s, strlen(s)) < 0) die(p);
  close(fd);
}
static void v1_each(int what, int pid) { // 0 mkdir, 1 attach, 2 rmdir
  for (unsigned i = 0; i < sizeof v1h / sizeof *v1h; i++) {
    char p[300], q[340], b[32]; snprintf(p, 300, "/sys/fs/cgroup/%s/cklimit.%d", v1h[i], getpid());
    if (what == 0 && mkdir(p, 0755) < 0 && errno != EEXIST) die(p);
    if (what == 0 && !strcmp(v1h[i], "cpuset")) {
      snprintf(q, 340, "%s/cpuset.cpus", p); wr(q, "0"); snprintf(q, 340, "%s/cpuset.mems", p); wr(q, "0");
    }
    if (what == 1) { snprintf(q, 340, "%s/cgroup.procs", p); snprintf(b, 32, "%d", pid); wr(q, b); }
    if (what == 2) for (int k = 0; rmdir(p) < 0 && k < 50; k++) usleep(200);
  }
}
static void rmtree(int dfd, const char *name) {
  int fd = openat(dfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) die(name);
  DIR *d = fdopendir(fd); struct dirent *e;
  while ((e = readdir(d))) {
    if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
    if (e->d_type == DT_DIR) rmtree(fd, e->d_name); else unlinkat(fd, e->d_name, 0);
  }
  closedir(d); errno = 0; unlinkat(dfd, name, AT_REMOVEDIR);
}
static void one(unsigned f) {
  char cg[300]; int cgfd = -1; iter_no++;
  memset(sh->t, 0, sizeof sh->t); sh->go = 0; sh->phase = 0; sh->err = 0;
  if (f & F_PRENET) npool--;
  sh->t[T_BEGIN] = now();
  if (f & (F_OVL | F_BINDROOT)) {
    if (mkdir(iterdir, 0700) < 0 && (errno != EEXIST || (rmtree(AT_FDCWD, iterdir), mkdir(iterdir, 0700)) < 0)) die(iterdir);
    if ((f & F_OVL) && (mkdir(upper, 0755) < 0 || mkdir(work, 0755) < 0)) die(upper);
    if (mkdir(merged, 0755) < 0) die(merged);
    if ((f & F_OVL) && (f & F_USER)) { chmod(iterdir, 0711); if (chown(upper, 100000, 100000) || chown(work, 100000, 100000)) die("chown"); }
    if (f & F_HOSTMNT) { char o[2600]; ovl_opts(o, sizeof o, f); if (mount("overlay", merged, "overlay", 0, o)) die("hostmnt"); }
  }
  if (f & F_CGV2) {
    snprintf(cg, sizeof cg, "%s/cklimit.%d.%u", cg2root, getpid(), iter_no);
    if (mkdir(cg, 0755) < 0) die(cg);
    cgfd = open(cg, O_DIRECTORY | O_CLOEXEC | O_RDONLY); if (cgfd < 0) die(cg);
  }
  if (f & F_CGV1) v1_each(0, 0);
  sh->t[T_PREP] = now();
  // The parent must act while the child waits (id map, veth, v1 attach, warm
  // pool): then no CLONE_VFORK, only CLONE_VM, and a pipe tells us of the exec.
  int handshake = !!(f & (F_USER | F_VETH | F_WARM | F_CGV1)), pp[2] = {-1, -1};
  struct clone_args a = {.exit_signal = SIGCHLD, .stack = (uintptr_t)stk, .stack_size = 1 << 18};
  if (!(f & F_FORK)) a.flags |= CLONE_VM;
  if (!handshake) a.flags |= CLONE_VFORK; // parent resumes at exec
  if (f & F_UTSIPC) a.flags |= CLONE_NEWUTS | CLONE_NEWIPC;
  if (f & F_PID) a.flags |= CLONE_NEWPID;
  if (f & F_MNT) a.flags |= CLONE_NEWNS;
  if (f & F_CGNS) a.flags |= CLONE_NEWCGROUP;
  if ((f & F_NET) && !(f & F_PRENET)) a.flags |= CLONE_NEWNET;
  if (f & F_USER) a.flags |= CLONE_NEWUSER;
  if (cgfd >= 0) { a.flags |= CLONE_INTO_CGROUP; a.cgroup = cgfd; }
  if (handshake && pipe2(pp, O_CLOEXEC) < 0) die("pipe");
  long pid = clone3_fn(&a, child, (void *)(uintptr_t)f);
  if (pid < 0) die("clone3");
  if (handshake) {
    // CLONE_VM without CLONE_FILES: our fd table is our own, close our write end
    close(pp[1]);
    if (f & F_USER) {
      char p[64]; snprintf(p, 64, "/proc/%ld/uid_map", pid); wr(p, "0 100000 65536");
      snprintf(p, 64, "/proc/%ld/gid_map", pid); wr(p, "0 100000 65536");
    }
    if (f & F_VETH) if (veth_add(pid, iter_no) < 0) die("veth");
    if (f & F_CGV1) v1_each(1, pid);
    if (f & F_WARM) { fwait(&sh->phase, 0); sh->t[T_BEGIN] = sh->t[T_PREP] = now();
      for (int i = C_START; i <= C_LINK; i++) sh->t[i] = sh->t[T_BEGIN]; }
    fset(&sh->go, 1);
    char c; if (read(pp[0], &c, 1) != 0) die("pipe read"); // EOF = exec happened
    close(pp[0]);
  }
  sh->t[T_RUNNING] = now();
  int st;
  if (f & F_SETNS) { waitpid(pid, &st, 0); pid = sh->phase; if (waitpid(pid, &st, __WALL) != pid) die("wait grandchild"); }
  else if (waitpid(pid, &st, 0) != pid) die("waitpid");
  sh->t[T_WAITED] = now();
  if (!WIFEXITED(st) || WEXITSTATUS(st)) { fprintf(stderr, "child failed: st=%x %s: %s\n", st, sh->errwhat ? sh->errwhat : "?", strerror(sh->err)); exit(1); }
  if (f & F_HOSTMNT) if (umount2(merged, 0)) die("umount");
  if (f & F_OVL) { rmtree(AT_FDCWD, iterdir); if (errno == ENOTEMPTY) die("rmtree"); }
  if (f & F_BINDROOT) { rmdir(merged); if (rmdir(iterdir) < 0) die(iterdir); }
  if (cgfd >= 0) { close(cgfd); for (int k = 0; rmdir(cg) < 0 && k < 100; k++) usleep(100); }
  if (f & F_CGV1) v1_each(2, 0);
  sh->t[T_END] = now();
  if (f & F_PRENET) close(netns_pool[npool]);
}

static int cmp(const void *a, const void *b) { double x = *(double *)a, y = *(double *)b; return x < y ? -1 : x > y; }
static double pct(double *v, int n, double p) { qsort(v, n, sizeof *v, cmp); int i = p * (n - 1) + 0.5; return v[i]; }
static double busy_ms(void) {
  FILE *f = fopen("/proc/stat", "r"); unsigned long long u, n, s, id, io, irq, si;
  if (fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu", &u, &n, &s, &id, &io, &irq, &si) != 7) die("stat");
  fclose(f); return (u + n + s + irq + si) * 10.0;
}
static long slab_nets(void) {
  FILE *f = fopen("/proc/slabinfo", "r"); char l[512]; long v = -1; if (!f) return -1;
  while (fgets(l, sizeof l, f)) if (!strncmp(l, "net_namespace ", 14)) sscanf(l + 14, "%ld", &v);
  fclose(f); return v;
}
static long slab_mnts(void) {
  FILE *f = fopen("/proc/slabinfo", "r"); char l[512]; long v = -1; if (!f) return -1;
  while (fgets(l, sizeof l, f)) if (!strncmp(l, "mnt_cache ", 10)) sscanf(l + 10, "%ld", &v);
  fclose(f); return v;
}
static pid_t sleeper;
static int sleep_child(void *a) { (void)a; pause(); return 0; }
static char sleep_stack[65536] __attribute__((aligned(16)));

static void setup_paths(void) {
  snprintf(iterdir, sizeof iterdir, "%s/it.%d", base, getpid());
  snprintf(upper, sizeof upper, "%s/u", iterdir); snprintf(work, sizeof work, "%s/w", iterdir);
  snprintf(merged, sizeof merged, "%s/m", iterdir);
}
static void run_config(struct config *c, int n, int phases, int quiet, double *out_med) {
  double *tot = calloc(n, 8), *run = calloc(n, 8), *ph[NSTAMP], *x = calloc(n, 8);
  for (int i = 0; i < NSTAMP; i++) ph[i] = calloc(n, 8);
  if (c->f & F_PRENET) {
    int save = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC); if (n > 4000) n = 4000;
    for (npool = 0; npool < n + 5; npool++) { if (unshare(CLONE_NEWNET)) die("unshare"); netns_pool[npool] = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC); if (netns_pool[npool] < 0) die("pool"); }
    if (setns(save, CLONE_NEWNET)) die("setns");
    close(save);
  }
  if (c->f & F_SETNS) {
    struct clone_args a = {.exit_signal = SIGCHLD, .stack = (uintptr_t)sleep_stack, .stack_size = sizeof sleep_stack,
      .flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP};
    sleeper = clone3_fn(&a, sleep_child, 0); if (sleeper < 0) die("sleeper");
    target_pidfd = syscall(SYS_pidfd_open, sleeper, 0);
  }
  if (c->f & F_VETH) bridge_setup();
  for (int i = 0; i < 5; i++) one(c->f);
  double b0 = busy_ms(); uint64_t w0 = now();
  for (int i = 0; i < n; i++) {
    one(c->f); uint64_t *t = sh->t;
    tot[i] = (t[T_END] - t[T_BEGIN]) / 1e3; run[i] = (t[T_RUNNING] - t[T_BEGIN]) / 1e3;
    uint64_t last = t[0];
    for (int k = 1; k < NSTAMP; k++) { if (!t[k]) t[k] = last; ph[k][i] = ((double)t[k] - (double)last) / 1e3; last = t[k]; }
  }
  double wall = (now() - w0) / 1e3;
  // CPU charged anywhere in the machine, including kernel workers that finish later
  usleep(c->f & F_NET ? 400000 : 50000);
  double cpu = (busy_ms() - b0) * 1e3;
  if (c->f & F_SETNS) { kill(sleeper, SIGKILL); waitpid(sleeper, 0, 0); close(target_pidfd); }
  if (c->f & F_VETH) { usleep(500000); bridge_teardown(); }
  while (npool > 0) close(netns_pool[--npool]);
  if (json) {
    printf("{\"config\": \"%s\", \"running\": [", c->name);
    for (int i = 0; i < n; i++) printf("%s%.1f", i ? ", " : "", run[i]);
    printf("], \"total\": [");
    for (int i = 0; i < n; i++) printf("%s%.1f", i ? ", " : "", tot[i]);
    puts("]}"); quiet = 1;
  }
  memcpy(x, tot, n * 8); double med = pct(x, n, .5), p99 = pct(x, n, .99), p10 = pct(x, n, .1);
  double rmed = pct(run, n, .5);
  if (out_med) *out_med = med;
  if (!quiet) {
    printf("%-17s %8.0f %8.0f %8.0f %8.0f %8.0f %8.0f   %s\n", c->name, rmed, p10, med, p99, wall / n, cpu / n, c->what);
    if (phases) { printf("    phases(us):"); for (int k = 1; k < NSTAMP; k++) { double m = pct(ph[k], n, .5); if (m >= 1) printf(" %s=%.0f", phase_name[k], m); } puts(""); }
    fflush(stdout);
  }
  free(tot); free(run); free(x); for (int i = 0; i < NSTAMP; i++) free(ph[i]);
}
static void windowed(struct config *c, int n) { // sustained: throughput per window of 100
  long n0 = slab_nets(), m0 = slab_mnts(); double b0 = busy_ms(); uint64_t s = now();
  printf("sustained %s x%d (containers/s per window of 100):", c->name, n);
  if (c->f & F_VETH) bridge_setup();
  for (int i = 0; i < n / 100; i++) { uint64_t a = now(); for (int k = 0; k < 100; k++) one(c->f); printf(" %.0f", 100e9 / (now() - a)); fflush(stdout); }
  uint64_t e = now(); long n1 = slab_nets(), m1 = slab_mnts();
  double cpu_fg = busy_ms() - b0;
  double lastb = busy_ms(); uint64_t quiet = now(), tq = quiet; // wait for kernel workers to go idle
  while ((now() - quiet) < 300000000ull && now() - e < 30000000000ull) { usleep(20000); double b = busy_ms(); if (b > lastb) { lastb = b; quiet = now(); tq = quiet; } }
  printf("\n  wall %.0f ms = %.0f/s; cpu in loop %.2f ms each; after: workers idle %.0f ms later, cpu incl. them %.2f ms each; slab net %ld->%ld->%ld mnt %ld->%ld->%ld\n",
         (e - s) / 1e6, n * 1e9 / (e - s), cpu_fg / n, (tq - e) / 1e6, (lastb - b0) / n, n0, n1, slab_nets(), m0, m1, slab_mnts());
  if (c->f & F_VETH) bridge_teardown();
}
int main(int argc, char **argv) {
  int n = 300, o, jobs = 0, win = 0, phases = 1; const char *want = "all"; long mib = 0;
  while ((o = getopt(argc, argv, "n:c:b:r:m:j:x:wlqo")) > 0) switch (o) {
    case 'n': n = atoi(optarg); break; case 'c': want = optarg; break;
    case 'b': snprintf(base, sizeof base, "%s", optarg); break; case 'r': snprintf(rootfs, sizeof rootfs, "%s", optarg); break;
    case 'm': mib = atol(optarg); break; case 'j': jobs = atoi(optarg); break; case 'w': win = 1; break;
    case 'x': snprintf(prog_path, sizeof prog_path, "%s", optarg); break;
    case 'q': phases = 0; break;
    case 'o': json = 1; break;
    case 'l': for (int i = 0; i < NCONF; i++) printf("%-17s %s\n", configs[i].name, configs[i].what); return 0;
    default: return 2; }
  sh = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  stk = mmap(0, 1 << 18, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  mkdir(base, 0711); snprintf(argv_root, sizeof argv_root, "%s%s", rootfs, prog_path);
  setup_paths(); make_filter();
  snprintf(cg2root, sizeof cg2root, "%s", access("/sys/fs/cgroup/unified/cgroup.procs", F_OK) ? "/sys/fs/cgroup" : "/sys/fs/cgroup/unified");
  if (mib) { // inflate the parent, as a Python process with a big heap would be
    char *p = mmap(0, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); madvise(p, mib << 20, MADV_NOHUGEPAGE);
    for (long i = 0; i < mib << 20; i += 4096) p[i] = 1;
    if (!json) printf("parent heap: %ld MiB of touched 4K pages\n", mib);
  }
  if (!jobs && !win && !json) printf("%-17s %8s %8s %8s %8s %8s %8s\n", "config (us)", "running", "p10", "median", "p99", "wall/it", "cpu/it");
  for (int i = 0; i < NCONF; i++) {
    char l[600], k[80]; snprintf(l, sizeof l, ",%s,", want); snprintf(k, sizeof k, ",%s,", configs[i].name);
    if (strcmp(want, "all") && !strstr(l, k)) continue;
    if (configs[i].f & F_CGV2) {
      char p[300]; snprintf(p, sizeof p, "%s/cgroup.procs", cg2root);
      if (access(p, F_OK)) { if (!json) printf("%-17s skipped: no cgroup v2 tree here\n", configs[i].name); continue; }
    }
    if (win) { windowed(&configs[i], n); continue; }
    if (!jobs) { run_config(&configs[i], n, phases, 0, 0); continue; }
    if (configs[i].f & F_VETH) bridge_setup();
    uint64_t s = now(); double b0 = busy_ms();
    for (int j = 0; j < jobs; j++) if (!fork()) {
      sh = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0); setup_paths();
      worker_id = j; if (configs[i].f & F_VETH) host_nl = nl_open();
      for (int q = 0; q < n / jobs; q++) one(configs[i].f);
      _exit(0);
    }
    int bad = 0, st; while (wait(&st) > 0) bad |= st;
    uint64_t e = now();
    if (json) printf("{\"config\": \"%s\", \"jobs\": %d, \"per_second\": %.1f, \"failed\": %s}\n", configs[i].name, jobs, (n / jobs * jobs) * 1e9 / (e - s), bad ? "true" : "false");
    else printf("parallel %-17s jobs=%-3d n=%d: %.0f containers/s, cpu %.2f ms each%s\n", configs[i].name, jobs, n / jobs * jobs, (n / jobs * jobs) * 1e9 / (e - s), (busy_ms() - b0) / n, bad ? "  (FAILED)" : "");
    fflush(stdout); if (configs[i].f & F_VETH) { usleep(500000); bridge_teardown(); }
    usleep(500000);
  }
  return 0;
}

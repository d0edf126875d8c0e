// drive.c: launch one plan and say what it came to; the monitor's part, reduced to the least.
//
//   drive REQUEST OUT NAMESPACES TARGET FLAGS
//
// REQUEST is a file, OUT a descriptor for lines of text, TARGET a pid or 0, FLAGS letters:
// m own memory, n never ready, t the plan has a TERMINAL, e leave before ready.
// stdio is handed to the child. What a terminal says is copied to stdout.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "decode.h"
#include "launch.h"

static int die(const char *what) {
    perror(what);
    return 1;
}

static const void *map_file(const char *path, size_t *size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return NULL;
    *size = (size_t)st.st_size;
    const void *at = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    return at == MAP_FAILED ? NULL : at;
}

// One message of the report: a descriptor, or -1 at its end.
static int receive_master(int report) {
    struct ck_message message;
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec data = {&message, sizeof(message)};
    struct msghdr header = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    int fd = -1;
    if (recvmsg(report, &header, MSG_CMSG_CLOEXEC) != (ssize_t)sizeof(message))
        return -1;
    struct cmsghdr *first = CMSG_FIRSTHDR(&header);
    if (message.type == CK_MSG_TTY && first != NULL)
        memcpy(&fd, CMSG_DATA(first), sizeof(fd));
    return fd;
}

static void copy_terminal(int master) {
    char buffer[4096];
    for (ssize_t n; (n = read(master, buffer, sizeof(buffer))) > 0;)
        if (write(1, buffer, (size_t)n) != n)
            return;
}

int main(int argc, char **argv) {
    size_t size;
    struct ck_request_view view;
    int pair[2], pidfd = -1, status = -1, joined_status = -1;
    if (argc != 6)
        return 2;
    const void *request = map_file(argv[1], &size);
    int out = atoi(argv[2]), target = atoi(argv[4]);
    const char *flags = argv[5];
    if (request == NULL || ck_open_request(request, size, &view) < 0 || !view.has_plan)
        return die("request");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return die("socketpair");
    bool terminal = strchr(flags, 't') != NULL;
    struct ck_launch launch = {
        .plan = view.plan,
        .report = pair[1],
        .stdio = {terminal ? -1 : 0, terminal ? -1 : 1, terminal ? -1 : 2},
        .target = target > 0 ? (int)syscall(SYS_pidfd_open, target, 0) : -1,
        .cgroup = -1,
        .namespaces = (uint32_t)strtoul(argv[3], NULL, 0),
        .own_memory = strchr(flags, 'm') != NULL,
    };
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    errno = -ck_launch_prepare(&launch);
    if (errno != 0)
        return die("prepare");
    long pid = ck_launch_clone(&launch, &pidfd);
    errno = (int)-pid;
    if (pid < 0)
        return die("clone");
    close(pair[1]);
    dprintf(out, "pid %ld\n", pid);
    if (strchr(flags, 'e') != NULL)
        _exit(0);
    if (strchr(flags, 'n') == NULL)
        ck_launch_ready(&launch);
    int master = receive_master(pair[0]);
    if (terminal && master >= 0)
        receive_master(pair[0]); // EOF: the exec happened
    struct ck_outcome *o = launch.outcome;
    dprintf(out, "outcome %u %u %d %u %d\n", o->state, o->step, o->error, o->detail, o->pid);
    int joined = o->pid;
    if (master >= 0)
        copy_terminal(master);
    waitpid((pid_t)pid, &status, 0);
    if (joined > 0)
        waitpid(joined, &joined_status, 0);
    dprintf(out, "status %d %d\n", status, joined_status);
    ck_launch_release(&launch);
    return 0;
}

// fuzz_messages.c: any bytes are what clients send a monitor: messages, descriptors, hang-ups, in any order.
//
// The monitor's own parts, but for the executor: a launch makes no process. The input is a script of one-byte
// acts (see `acts`) after two bytes that choose the container's state. After each turn the monitor's books
// must agree, and at the end every descriptor must be closed.
//
// libFuzzer:  clang -fsanitize=fuzzer,address,undefined -DCK_LIBFUZZER fuzz_messages.c decode.c removal.c monitor_*.c
//             but for monitor_log.c and monitor_setup.c
// plain, AFL:  cc -fsanitize=address,undefined …; ./a.out FILE…
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "monitor.c"
#include "monitor_setup.c"

#include <string.h>
#include <sys/mman.h>

#include "fuzz_monitor.h"

// ---- acts -------------------------------------------------------------------------------------------

// A request in memory: as it comes, or with a right header for what comes; sealed or not.
static int make_request(void) {
    uint8_t how = take();
    size_t size = take() * 4u;
    unsigned char bytes[REQUEST_SIZE] = {0};
    struct ck_request header = {.magic = CK_MAGIC, .version = CK_VERSION, .section_count = 1};
    if (how & 1)
        size += sizeof(header);
    take_all(bytes, size);
    if (how & 1) {
        header.size = (uint32_t)size;
        uint32_t kind = how & 4 ? CK_SECTION_SETTINGS : CK_SECTION_PLAN;
        header.section[0] =
            (struct ck_section){kind, sizeof(header), (uint32_t)(size - sizeof(header)), how >> 4};
        memcpy(bytes, &header, sizeof(header));
    }
    int fd = memfd_create("request", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size)
        abort();
    if (how & 2)
        fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW);
    return fd;
}

static int make_fd(void) {
    int pipe[2];
    switch (take() % 6) {
    case 0:
        return open("/dev/null", O_RDWR | O_CLOEXEC);
    case 1:
        return open("/", O_PATH | O_CLOEXEC);
    case 2: // nobody reads it
    case 3: // nobody writes it
        if (pipe2(pipe, O_CLOEXEC) < 0)
            abort();
        close(pipe[take() % 2]);
        return fcntl(pipe[0], F_GETFD) < 0 ? pipe[1] : pipe[0];
    case 4:
        return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    default:
        return make_request();
    }
}

static void send_to(int socket, const void *data, size_t size, unsigned count) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(8 * sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN(count * sizeof(int)),
                            .cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS}};
    struct iovec iov = {(void *)data, size};
    struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
    int fds[8];
    for (unsigned i = 0; i < count; i++)
        fds[i] = make_fd();
    memcpy(CMSG_DATA(&control.header), fds, count * sizeof(int));
    if (count > 0) {
        header.msg_control = &control;
        header.msg_controllen = CMSG_SPACE(count * sizeof(int));
    }
    sendmsg(socket, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    for (unsigned i = 0; i < count; i++)
        close(fds[i]);
}

static void say(struct ck_monitor *m) {
    (void)m;
    uint8_t bytes[sizeof(struct ck_message) + 16] = {0};
    uint8_t who = take(), shape = take();
    uint32_t type = take();
    type = type < 250 ? CK_MSG_GO + type % 14 : type; // mostly what there is
    size_t size = shape & 0x80 ? take() % sizeof(bytes) : sizeof(struct ck_message);
    memcpy(bytes, &type, sizeof(type));
    take_all(bytes + sizeof(type), shape & 0x40 ? sizeof(bytes) - sizeof(type) : 8);
    send_to(peers[who % PEERS], bytes, size, shape % 16 < 8 ? shape % 8 : 4);
}

static void hang_up(struct ck_monitor *m) {
    (void)m;
    ck_close_fd(&peers[take() % PEERS]);
}

static void connect_again(struct ck_monitor *m) {
    uint8_t who = take() % PEERS;
    int pair[2];
    if (who == 0 || peers[who] >= 0 || m->clients[who].fd >= 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return;
    m->clients[who] = (struct ck_client){.fd = pair[0], .session = -1};
    peers[who] = pair[1];
}

static void listen_to(struct ck_monitor *m) {
    uint8_t bytes[64];
    (void)m;
    while (recv(peers[take() % PEERS], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        continue;
}

static void report(struct ck_monitor *m) {
    uint8_t which = take();
    struct ck_message message = {.type = CK_MSG_TTY};
    (void)m;
    if (which & 0x80)
        send_to(reports[which % REPORTS], &message, sizeof(message), which >> 4 & 3);
    else
        ck_close_fd(&reports[which % REPORTS]);
}

static void reaped(struct ck_monitor *m) {
    struct rusage usage = {0};
    uint8_t who = take();
    if (who & 1)
        ck_session_reaped(m, child, who, &usage);
    else if (m->run.pid)
        ck_run_reaped(m, who << 8, &usage);
}

static void pass_time(struct ck_monitor *m) {
    uint8_t what = take();
    m->force_at = what & 1 ? 0 : m->force_at;
    m->restart_at = what & 0x80 && m->phase == CK_PHASE_BACKOFF ? 0 : m->restart_at;
    m->health.next_at = what & 2 && m->health.plan.count ? 0 : m->health.next_at;
    m->health.timeout_at = what & 4 && m->health.output >= 0 ? 0 : m->health.timeout_at;
    m->clients[what >> 3 & 7].stuck_until = what & 0x40 ? 0 : m->clients[what >> 3 & 7].stuck_until;
}

static void print_something(struct ck_monitor *m) {
    static const char text[CK_CHUNK];
    size_t size = 1u << take() % 17;
    int ends[2];
    bool runs = m->phase == CK_PHASE_RUNNING || m->phase == CK_PHASE_DRAINING;
    if (runs && m->stdio.out[0] < 0 && pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0) {
        m->stdio.out[0] = ends[0];
        fcntl(ends[1], F_SETPIPE_SZ, CK_CHUNK);
        if (write(ends[1], text, size < CK_CHUNK ? size : CK_CHUNK) < 0)
            abort();
        close(ends[1]);
    }
}

static void (*const acts[])(struct ck_monitor *m) = {
    say, say, say, hang_up, connect_again, listen_to, report, reaped, pass_time, print_something,
};

// ---- a life -----------------------------------------------------------------------------------------

static void begin_life(struct ck_monitor *m) {
    static const enum ck_phase phases[] = {CK_PHASE_RUNNING,  CK_PHASE_RUNNING, CK_PHASE_LAUNCHING,
                                           CK_PHASE_DRAINING, CK_PHASE_BACKOFF, CK_PHASE_WAITING};
    memset(m, 0, offsetof(struct ck_monitor, chunk));
    ck_begin(m);
    m->present &= ~(7u << CK_FD_STDIN); // a run without restarts would close them
    m->clients[0] = (struct ck_client){.fd = -1, .session = -1};
    m->phase = phases[take() % 6];
    uint8_t flags = take();
    m->set = (struct ck_settings){.flags = flags & (CK_SET_OWNED | CK_SET_REMOVE_OWNED | CK_SET_TERMINAL |
                                                    CK_SET_STDIN | CK_SET_DIRECT | CK_SET_OWN_MEMORY),
                                  .container_dir = "",
                                  .runtime_dir = "",
                                  .cgroup_parent = "",
                                  .cgroup_name = "",
                                  .stop_signal = CK_SIGTERM,
                                  .restart = flags & 3};
    if (m->phase == CK_PHASE_RUNNING || m->phase == CK_PHASE_LAUNCHING)
        m->run.pid = child;
    for (unsigned i = 0; i < PEERS; i++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
            abort();
        m->clients[i] = (struct ck_client){.fd = pair[0], .session = -1, .waits = i == 0};
        peers[i] = pair[1];
    }
}

// Any settings there may be, but for where the container is.
static void begin_by_request(struct ck_monitor *m) {
    struct ck_request_view view;
    int fd = make_request();
    request_size = ck_map_request(fd, &request);
    close(fd);
    if (request_size < 0 || ck_open_request(request, (size_t)request_size, &view) || !view.has_settings)
        return;
    read_settings(&m->set, view.settings);
    m->health.plan = view.health;
    m->set.flags &= ~(CK_SET_PROBE | CK_SET_REMOVE_ONLY);
    m->set.container_dir = m->set.runtime_dir = m->set.cgroup_parent = m->set.cgroup_name = "";
    if (ck_run_prepare(m))
        m->phase = CK_PHASE_OVER; // the monitor would end
    else if (m->phase == CK_PHASE_RUNNING)
        ck_health_run_started(m);
}

static void end_life(struct ck_monitor *m) {
    struct ck_message last = {.type = CK_MSG_EXITED};
    m->run.pid = 0; // nobody to wait for
    ck_run_discard(m);
    ck_close_fd(&m->run.pidfd);
    ck_control_finish(m, &last);
    for (uint32_t i = 0; i < CK_SESSIONS; i++)
        if (m->sessions[i].state != CK_SESSION_FREE)
            ck_session_free(m, &m->sessions[i]);
    for (uint32_t i = 0; i < CK_CLIENTS; i++)
        ck_close_fd(&m->clients[i].fd);
    for (int i = 0; i < 3; i++)
        if (m->stdio.child[i] >= first_fd)
            ck_close_fd(&m->stdio.child[i]);
    ck_close_fd(&m->health.output);
    for (unsigned i = 0; i < PEERS; i++)
        ck_close_fd(&peers[i]);
    for (unsigned i = 0; i < REPORTS; i++)
        ck_close_fd(&reports[i]);
    if (request_size > 0)
        munmap(request, (size_t)request_size);
    request_size = 0;
}

static void begin_once(void) {
    while ((first_fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) <= CK_FD_REQUEST + (int)CK_FD_COUNT)
        continue;                  // the places of what a monitor is given stay taken
    uint64_t sigpipe = 1ull << 12; // in a monitor all are blocked
    CK_SYS4(__NR_rt_sigprocmask, 0 /* SIG_BLOCK */, &sigpipe, 0, sizeof(sigpipe));
    child = fork();
    if (child == 0)
        _exit(0);
    for (unsigned i = 0; i < REPORTS; i++)
        reports[i] = -1;
    close(first_fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct ck_monitor *m = &monitor;
    if (first_fd == 0)
        begin_once();
    rest = data;
    end = data + size;
    uint32_t open_before = count_open(); // libFuzzer has some, too
    begin_life(m);
    if (take() % 8 == 1)
        begin_by_request(m);
    while (rest < end && m->phase != CK_PHASE_OVER) {
        acts[take() % (sizeof(acts) / sizeof(acts[0]))](m);
        m->stale_at = 0; // the turn must not wait
        turn(m);
        check(m);
    }
    end_life(m);
    if (count_open() != open_before)
        abort();
    return 0;
}

#ifndef CK_LIBFUZZER
#include "fuzz_main.h"
#endif

// fuzz_monitor.h: the monitor that fuzz_messages.c talks to: its state, what stands in place of the world
// around it, and its books.
#ifndef CK_FUZZ_MONITOR_H
#define CK_FUZZ_MONITOR_H

#include <stdlib.h>
#include <unistd.h>

#include "monitor.h"

#define PEERS 6u // clients of this monitor, the owner first
#define REPORTS 8u
#define MOST_FDS 256u
#define REQUEST_SIZE 4096u

static struct ck_monitor monitor;
static struct ck_outcome outcome;
static int child;    // ended and never waited for: its number stays its own, and no signal reaches anybody
static int first_fd; // what is open from here on is the monitor's or ours
static int peers[PEERS];     // our ends
static int reports[REPORTS]; // the children's ends of launches
static unsigned launches;
static void *request; // mapped, when its size is positive
static long request_size;
static const uint8_t *rest, *end;

static uint8_t take(void) {
    return rest < end ? *rest++ : 0;
}

static void take_all(void *to, size_t size) {
    for (size_t i = 0; i < size; i++)
        ((uint8_t *)to)[i] = take();
}

// ---- in place of what would touch the world ------------------------------------------------

int ck_launch_prepare(struct ck_launch *launch) {
    if (take() % 16 == 1)
        return -ENOMEM;
    launch->outcome = &outcome;
    return 0;
}

long ck_launch_clone(struct ck_launch *launch, int *pidfd) {
    uint8_t how = take();
    if (how % 16 == 1)
        return -EAGAIN;
    *pidfd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    outcome = (struct ck_outcome){.state = how >> 4 & 3, .pid = how & 0x40 ? child : how & 0x80 ? -1 : 0};
    int *report = &reports[launches++ % REPORTS];
    ck_close_fd(report);
    *report = dup(launch->report);
    return child;
}

void ck_launch_ready(struct ck_launch *launch) {
    (void)launch;
}

void ck_launch_release(struct ck_launch *launch) {
    launch->outcome = NULL;
}

int ck_log_open(struct ck_monitor *m) {
    (void)m;
    return 0;
}

void ck_log_write(struct ck_monitor *m, uint32_t stream, const char *data, size_t size) {
    (void)stream;
    for (size_t i = 0; i < size; i++)
        m->log.size += (unsigned char)data[i];
}

// ---- the books -----------------------------------------------------------------------------------

static void owns(uint8_t owned[MOST_FDS], int fd) {
    if (fd < first_fd)
        return;
    if (fd >= (int)MOST_FDS || owned[fd]++ != 0)
        abort();
}

// Nobody owns a descriptor twice, and clients and sessions name each other.
static void check(const struct ck_monitor *m) {
    uint8_t owned[MOST_FDS] = {0};
    for (uint32_t i = 0; i < CK_CLIENTS; i++) {
        const struct ck_client *client = &m->clients[i];
        owns(owned, client->fd);
        for (int k = 0; client->attached && k < 2; k++)
            owns(owned, client->out[k]);
        if (client->fd >= 0 && client->session >= 0 &&
            (m->sessions[client->session].client != (int)i ||
             m->sessions[client->session].state == CK_SESSION_FREE))
            abort();
    }
    for (uint32_t i = 0; i < CK_SESSIONS; i++) {
        const struct ck_session *session = &m->sessions[i];
        if (session->state == CK_SESSION_FREE)
            continue;
        owns(owned, session->report);
        owns(owned, session->launch.report);
        if (session->client >= 0 && m->clients[session->client].session != (int)i)
            abort();
    }
    int more[] = {m->run.report,   m->run.pidfd,      m->run.launch.report, m->stdio.in,
                  m->stdio.master, m->stdio.out[0],   m->stdio.out[1],      m->health.output,
                  m->owner_pidfd,  m->stdio.child[0], m->stdio.child[1],    m->stdio.child[2]};
    for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++)
        owns(owned, more[i]);
    if (m->watch_count >= CK_WATCHES || m->stdio.held_size > CK_CHUNK)
        abort();
}

static uint32_t count_open(void) {
    struct pollfd fds[MOST_FDS];
    uint32_t count = 0;
    for (int fd = 0; fd < (int)MOST_FDS; fd++)
        fds[fd] = (struct pollfd){.fd = fd};
    poll(fds, MOST_FDS, 0);
    for (int fd = 0; fd < (int)MOST_FDS; fd++)
        count += !(fds[fd].revents & POLLNVAL);
    return count;
}

#endif

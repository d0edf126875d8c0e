// monitor_stdio.c: the container's stdin, stdout and stderr: pipes or a pty to log and clients.
//
// One chunk is in hand at a time. It is logged at once; while an attached client has not
// taken all of it, nothing more is read: the container waits, for a bounded time.
#include <sys/mman.h>

#include "monitor.h"

#define CK_QUIET_MS 1000u // until a terminal that nobody has open is looked at again
#define CK_TRIM_MS 1000u  // until idle buffers are given back to the kernel

static int open_pipe(int *ours, int *childs, bool child_reads) {
    int ends[2];
    int error = ck_sys_pipe(ends);
    if (error)
        return error;
    *ours = ends[child_reads];
    *childs = ends[!child_reads];
    if (!child_reads)
        ck_sys_fcntl(*ours, F_SETFL, O_NONBLOCK);
    return 0;
}

static void take_inherited(struct ck_monitor *m) {
    for (int i = 0; i < 3; i++)
        m->stdio.child[i] = m->present & 1u << (CK_FD_STDIN + i) ? CK_FD_STDIN + i : 0;
}

// Init's ends for the next run. Our own 0 is /dev/null.
int ck_stdio_prepare(struct ck_monitor *m) {
    struct ck_stdio *io = &m->stdio;
    int error = 0;
    io->child[0] = io->child[1] = io->child[2] = m->set.flags & CK_SET_TERMINAL ? -1 : 0;
    if (m->set.flags & (CK_SET_TERMINAL | CK_SET_PROBE))
        return 0;
    if (m->set.flags & CK_SET_DIRECT) {
        take_inherited(m);
        return 0;
    }
    if (m->set.flags & CK_SET_STDIN)
        error = open_pipe(&io->in, &io->child[0], true);
    for (int i = 0; !error && i < 2; i++)
        error = open_pipe(&io->out[i], &io->child[1 + i], false);
    return error;
}

// After the clone: a reader of these must see the end when the container is gone. Inherited
// ends are kept only for a container that may run again.
void ck_stdio_close_child(struct ck_monitor *m) {
    bool direct = m->set.flags & CK_SET_DIRECT;
    for (int i = 0; i < 3; i++) {
        int *fd = &m->stdio.child[i];
        if (*fd <= 0 || (direct && m->set.restart != CK_RESTART_NO))
            continue;
        if (direct)
            m->present &= ~(1u << *fd);
        ck_close_fd(fd);
    }
}

void ck_stdio_take_master(struct ck_monitor *m, int fd) {
    ck_close_fd(&m->stdio.master);
    m->stdio.master = fd;
    m->stdio.quiet_until = 0;
    ck_sys_fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
}

int ck_stdio_input(const struct ck_monitor *m) {
    return m->stdio.master >= 0 ? m->stdio.master : m->stdio.in;
}

static int *source(struct ck_monitor *m, uint32_t stream) {
    return stream == 0 && m->stdio.master >= 0 ? &m->stdio.master : &m->stdio.out[stream];
}

// Read and pass on one chunk; false when there was none.
static bool copy_chunk(struct ck_monitor *m, uint32_t stream) {
    int *fd = source(m, stream);
    if (*fd < 0 || m->stdio.held_size)
        return false;
    long size = ck_read(*fd, m->chunk, CK_CHUNK);
    if (size > 0) {
        m->stdio.trim_at = ck_later(m, CK_TRIM_MS);
        ck_log_write(m, stream, m->chunk, (size_t)size);
        m->stdio.held_stream = stream;
        m->stdio.held_size = (uint32_t)size;
        ck_attach_give(m);
        return true;
    }
    if (size == -EINTR)
        return true;
    if (m->phase == CK_PHASE_DRAINING) // its writers are dead
        ck_close_fd(fd);
    else if (size == -EIO) // no process has the terminal open; one may again
        m->stdio.quiet_until = ck_later(m, CK_QUIET_MS);
    else if (size != -EAGAIN)
        ck_close_fd(fd);
    return false;
}

static void output_ready(struct ck_monitor *m, uint32_t stream) {
    copy_chunk(m, stream);
}

void ck_stdio_watch(struct ck_monitor *m) {
    ck_wake_at(m, m->stdio.trim_at);
    if (m->stdio.held_size)
        return;
    if (m->stdio.quiet_until > m->now)
        ck_wake_at(m, m->stdio.quiet_until);
    else
        ck_watch(m, m->stdio.master, POLLIN, output_ready, 0);
    ck_watch(m, m->stdio.out[0], POLLIN, output_ready, 0);
    ck_watch(m, m->stdio.out[1], POLLIN, output_ready, 1);
}

void ck_stdio_tick(struct ck_monitor *m) {
    if (m->phase == CK_PHASE_DRAINING)
        for (uint32_t stream = 0; stream < 2; stream++)
            while (copy_chunk(m, stream))
                ;
    if (m->now >= m->stdio.trim_at && !m->stdio.held_size) {
        m->stdio.trim_at = CK_NEVER;
        CK_SYS3(__NR_madvise, m->chunk, CK_CHUNK + CK_SCRATCH, MADV_DONTNEED);
    }
}

bool ck_stdio_drained(struct ck_monitor *m) {
    return !m->stdio.held_size && *source(m, 0) < 0 && *source(m, 1) < 0;
}

void ck_stdio_close(struct ck_monitor *m) {
    ck_close_fd(&m->stdio.in);
    ck_close_fd(&m->stdio.master);
    ck_close_fd(&m->stdio.out[0]);
    ck_close_fd(&m->stdio.out[1]);
    m->stdio.held_size = 0;
}

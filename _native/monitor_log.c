// monitor_log.c: container output in the container's directory: log, log.1, log.2, …
//
// A failing disk never stops the container: what cannot be written is counted and dropped,
// and no record is ever torn or split over two files.
#include "monitor.h"

#define CK_LOG_MOST_FILES 1000u

int ck_log_open(struct ck_monitor *m) {
    struct stat about;
    int fd = ck_sys_openat(CK_AT_FDCWD, "log", O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return fd;
    m->log.fd = fd;
    m->log.size = CK_SYS2(__NR_fstat, fd, &about) ? 0 : (uint64_t)about.st_size;
    return 0;
}

static void name_file(char name[32], uint32_t number) {
    struct ck_writer to = {name, 0, 32};
    ck_put_string(&to, "log");
    if (number) {
        ck_put_string(&to, ".");
        ck_put_number(&to, number);
    }
    ck_put_end(&to);
}

static void rotate(struct ck_monitor *m) {
    uint32_t files = m->set.log_max_files < CK_LOG_MOST_FILES ? m->set.log_max_files : CK_LOG_MOST_FILES;
    if (files <= 1) {
        if (!CK_SYS2(__NR_ftruncate, m->log.fd, 0))
            m->log.size = 0;
        return;
    }
    char from[32], to[32];
    for (uint32_t number = files - 1; number > 0; number--) {
        name_file(from, number - 1);
        name_file(to, number);
        ck_sys_renameat(CK_AT_FDCWD, from, CK_AT_FDCWD, to);
    }
    ck_close_fd(&m->log.fd);
    ck_log_open(m);
}

// Whole records, so a new file may start here.
static void write_records(struct ck_monitor *m, const char *records, size_t size) {
    struct ck_log *log = &m->log;
    bool full = m->set.log_max_bytes && log->size && log->size + size > m->set.log_max_bytes;
    if (full && log->fd >= 0)
        rotate(m);
    if (log->fd < 0)
        ck_log_open(m);
    for (size_t done = 0; done < size;) {
        long wrote = log->fd < 0 ? log->fd : ck_write(log->fd, records + done, size - done);
        if (wrote == -EINTR)
            continue;
        if (wrote <= 0) { // take back what is there of the last record
            log->lost += size;
            if (done)
                CK_SYS2(__NR_ftruncate, log->fd, log->size);
            return;
        }
        done += (size_t)wrote;
    }
    log->size += size;
}

void ck_log_write(struct ck_monitor *m, uint32_t stream, const char *data, size_t size) {
    char stamp[CK_STAMP];
    if (!(m->set.flags & CK_SET_LOG))
        return;
    ck_format_stamp(stamp, ck_clock_ns());
    for (size_t used; size > 0; data += used, size -= used) {
        size_t formatted =
            ck_log_format(m->scratch, CK_SCRATCH, stamp, stream ? "stderr" : "stdout", data, size, &used);
        write_records(m, m->scratch, formatted);
    }
}

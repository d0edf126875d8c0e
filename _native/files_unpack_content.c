// files_unpack_content.c: a file's content, straight from the reader's buffer.
#include <errno.h>

#include "monitor_syscalls.h"

#include "files_unpack.h"

static int write_all(int fd, const char *from, size_t size) {
    while (size > 0) {
        long written = ck_write(fd, from, size);
        if (written < 0 && written != -EINTR)
            return (int)written;
        if (written > 0) {
            from += written;
            size -= (size_t)written;
        }
    }
    return 0;
}

static int seek(int fd, const struct ck_tar *tar, uint32_t number) {
    uint64_t offset = number < tar->segments ? ck_tar_segment(tar, number).offset : 0;
    long at = CK_SYS3(__NR_lseek, fd, offset, SEEK_SET);
    return at < 0 ? (int)at : 0;
}

// The content in its segments, then the size: a hole at the end has nothing behind it.
static int write_sparse(struct ck_unpacking *job, int fd) {
    const struct ck_tar *tar = &job->tar;
    const char *piece;
    uint64_t done = 0; // of the present segment
    uint32_t number = 0;
    int error = seek(fd, tar, number);
    for (long size; error == 0 && (size = ck_tar_content(&job->tar, &piece)) != 0;) {
        error = size < 0 ? (int)size : 0;
        while (error == 0 && size > 0) {
            uint64_t left = ck_tar_segment(tar, number).size - done;
            size_t here = left < (uint64_t)size ? (size_t)left : (size_t)size;
            error = write_all(fd, piece, here);
            piece += here;
            size -= (long)here;
            done += here;
            if (here == left) {
                done = 0;
                error = error < 0 ? error : seek(fd, tar, ++number);
            }
        }
    }
    return error < 0 ? error : (int)CK_SYS2(__NR_ftruncate, fd, tar->entry.real_size);
}

int ck_write_content(struct ck_unpacking *job, int fd) {
    const char *piece;
    if (job->tar.entry.sparse)
        return write_sparse(job, fd);
    for (;;) {
        long size = ck_tar_content(&job->tar, &piece);
        if (size <= 0)
            return (int)size;
        int error = write_all(fd, piece, (size_t)size);
        if (error < 0)
            return error;
    }
}

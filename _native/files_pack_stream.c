// files_pack_stream.c: the bytes of an archive on their way out. See files_pack.h.
#include <linux/errno.h>

#include <sys/poll.h>

#include "execute.h"
#include "files_pack.h"
#include "syscalls.h"

#define SMALL (256u << 10) // what is worth copying once to save calls
#define MOST_AT_ONCE (1u << 30)

static int wait_writable(int fd) {
    struct pollfd poll = {.fd = fd, .events = POLLOUT};
    return ck_status(CK_SYS5(__NR_ppoll, &poll, 1, NULL, NULL, 0));
}

// What a write came to: bytes, or 0 when it is to be tried again. Errors stay.
static size_t settle(struct ck_stream *out, long result) {
    if (result == -EAGAIN)
        result = wait_writable(out->fd);
    if (result < 0 && result != -EINTR)
        out->error = (int)result;
    return result > 0 ? (size_t)result : 0;
}

void ck_stream_flush(struct ck_stream *out) {
    size_t done = 0;
    while (done < out->used && out->error == 0)
        done += settle(out, ck_write(out->fd, out->buffer + done, out->used - done));
    out->used = 0;
}

void ck_stream_zeros(struct ck_stream *out, uint64_t count) {
    while (count > 0 && out->error == 0) {
        if (out->used >= CK_PACK_BUFFER)
            ck_stream_flush(out);
        size_t room = CK_PACK_BUFFER - out->used;
        size_t now = count < room ? (size_t)count : room;
        __builtin_memset(out->buffer + out->used, 0, now);
        out->used += now;
        count -= now;
    }
}

// Through the buffer. *left is what the file did not have.
static int copy_file(struct ck_stream *out, int file, uint64_t *left) {
    while (*left > 0 && out->error == 0) {
        if (out->used >= CK_PACK_BUFFER)
            ck_stream_flush(out);
        size_t room = CK_PACK_BUFFER - out->used;
        long n = ck_read(file, out->buffer + out->used, *left < room ? (size_t)*left : room);
        if (n == -EINTR)
            continue;
        if (n <= 0)
            return (int)n;
        out->used += (size_t)n;
        *left -= (uint64_t)n;
    }
    return 0;
}

// From file to stream within the kernel, as far as it can.
static void send_file(struct ck_stream *out, int file, uint64_t *left) {
    ck_stream_flush(out);
    while (*left > 0 && out->error == 0) {
        size_t now = *left < MOST_AT_ONCE ? (size_t)*left : MOST_AT_ONCE;
        long n = CK_SYS4(__NR_sendfile, out->fd, file, NULL, now);
        if (n == 0 || (n < 0 && n != -EAGAIN && n != -EINTR && n != -EPIPE))
            return; // the end, or what this cannot do: reading says which
        *left -= settle(out, n);
    }
}

int ck_stream_file(struct ck_stream *out, int file, uint64_t size) {
    uint64_t left = size;
    if (size > SMALL)
        send_file(out, file, &left);
    int err = copy_file(out, file, &left);
    ck_stream_zeros(out, left + (-size % CK_BLOCK));
    return err;
}

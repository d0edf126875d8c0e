// monitor_cri.c: container output as log records in the CRI format. Pure.
//
// A record is a line: stamp, stream, F (a line ends here) or P (it goes on), the text. Only
// the newline is special, so any bytes survive. A read that ends in the middle of a line
// becomes a P at once: a prompt is visible, and nothing is lost if the monitor dies.
#include "monitor_format.h"

static const char *find_newline(const char *data, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (data[i] == '\n')
            return data + i;
    return NULL;
}

// How many bytes the next record takes, without the newline; *ended tells whether there is one.
static size_t next_piece(const char *data, size_t size, bool *ended) {
    size_t limit = size < CK_LOG_PIECE ? size : CK_LOG_PIECE;
    const char *newline = find_newline(data, limit);
    if (newline) {
        *ended = true;
        return (size_t)(newline - data);
    }
    *ended = limit < size && data[limit] == '\n';
    return limit;
}

size_t ck_log_format(char *out, size_t capacity, const char stamp[CK_STAMP], const char *stream,
                     const char *data, size_t size, size_t *used) {
    size_t at = 0, taken = 0;
    while (taken < size) {
        bool ended;
        size_t piece = next_piece(data + taken, size - taken, &ended);
        if (capacity - at < CK_LOG_PREFIX + piece + 1)
            break;
        __builtin_memcpy(out + at, stamp, CK_STAMP);
        at += CK_STAMP;
        out[at++] = ' ';
        __builtin_memcpy(out + at, stream, 6); // "stdout", "stderr"
        at += 6;
        out[at++] = ' ';
        out[at++] = ended ? 'F' : 'P';
        out[at++] = ' ';
        __builtin_memcpy(out + at, data + taken, piece);
        at += piece;
        out[at++] = '\n';
        taken += piece + ended;
    }
    *used = taken;
    return at;
}

// files_tar_sparse.c: files with holes, in GNU tar's first form (type "S", "Sparse Formats" in its manual).
//
// The header says how large the file is and where its data goes; what does not fit follows in blocks of
// its own. The forms that came later hide all that in pax records and file contents; they are refused.
#include <errno.h>
#include <string.h>

#include "files_entry.h"

enum { FIELD = 12, PAIR = 2 * FIELD };
enum { FIRST_PAIRS = 386, FIRST_COUNT = 4, FIRST_MORE = 482, REAL_SIZE = 483 };
enum { NEXT_COUNT = 21, NEXT_MORE = 504 };

#define MAX_SEGMENTS (CK_TAR_MAX_EXTENSION / sizeof(struct ck_tar_segment))

// One pair: in order, apart, and in the file.
static bool add_segment(struct ck_tar *tar, uint64_t offset, uint64_t size) {
    struct ck_tar_segment last = {0, 0};
    if (tar->segments > 0)
        last = ck_tar_segment(tar, tar->segments - 1);
    if (offset < last.offset + last.size || offset > tar->entry.real_size ||
        size > tar->entry.real_size - offset || tar->segments == MAX_SEGMENTS)
        return false;
    struct ck_tar_segment segment = {offset, size};
    memcpy(tar->extension + tar->segments++ * sizeof(segment), &segment, sizeof(segment));
    return true;
}

// The pairs of a block, up to one that is not there; *more tells whether all were.
static bool add_segments(struct ck_tar *tar, const char *pairs, size_t count, bool *more) {
    for (size_t i = 0; i < count; i++, pairs += PAIR) {
        int64_t offset, size;
        *more = pairs[0] != 0 && pairs[FIELD] != 0;
        if (!*more) // GNU tar looks at the one, others at the other
            return pairs[0] == 0 && pairs[FIELD] == 0;
        if (!ck_tar_number(pairs, FIELD, false, &offset) ||
            !ck_tar_number(pairs + FIELD, FIELD, false, &size) || offset < 0 || size < 0 ||
            !add_segment(tar, (uint64_t)offset, (uint64_t)size))
            return false;
    }
    return true;
}

struct ck_tar_segment ck_tar_segment(const struct ck_tar *tar, uint32_t number) {
    struct ck_tar_segment segment;
    memcpy(&segment, tar->extension + number * sizeof(segment), sizeof(segment));
    return segment;
}

int ck_tar_read_sparse(struct ck_tar *tar, const char *header) {
    char block[CK_TAR_BLOCK];
    int64_t real_size;
    bool more = true;
    if (tar->override.pax)
        return ck_tar_refuse(tar, CK_TAR_TYPE);
    if (!ck_tar_number(header + REAL_SIZE, FIELD, false, &real_size) || real_size < 0)
        return ck_tar_refuse(tar, CK_TAR_HEADER);
    tar->entry.real_size = (uint64_t)real_size;
    tar->entry.sparse = true;
    bool right = add_segments(tar, header + FIRST_PAIRS, FIRST_COUNT, &more);
    bool continues = header[FIRST_MORE] != 0;
    while (right && continues) {
        int error = more ? ck_tar_take(tar, block, sizeof(block)) : ck_tar_refuse(tar, CK_TAR_HEADER);
        if (error < 0)
            return error;
        right = add_segments(tar, block, NEXT_COUNT, &more);
        continues = block[NEXT_MORE] != 0;
    }
    uint64_t data = 0; // cannot overflow: the segments lie apart in real_size
    for (uint32_t i = 0; i < tar->segments; i++)
        data += ck_tar_segment(tar, i).size;
    return right && data == tar->entry.size ? 0 : ck_tar_refuse(tar, CK_TAR_HEADER);
}

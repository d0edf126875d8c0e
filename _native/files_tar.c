// files_tar.c: the stream, its blocks, and which header follows which.
#include "files_entry.h"

#include <errno.h>
#include <string.h>

#include "syscalls.h"

enum { SIZE = 124, SIZE_BYTES = 12, CHECKSUM = 148, CHECKSUM_BYTES = 8, TYPE = 156 };

int ck_tar_refuse(struct ck_tar *tar, enum ck_file_reason reason) {
    tar->reason = reason;
    return -EBADMSG;
}

// ---- the stream ---------------------------------------------------------------------------

// More bytes behind those in the buffer: their number, 0 at the end of the stream, or -errno.
static int read_more(struct ck_tar *tar) {
    if (tar->at == tar->end)
        tar->at = tar->end = 0;
    if (tar->at > 0) { // less than a block is left
        memmove(tar->buffer, tar->buffer + tar->at, tar->end - tar->at);
        tar->end -= tar->at;
        tar->at = 0;
    }
    long size;
    do
        size = ck_read(tar->source, tar->buffer + tar->end, sizeof(tar->buffer) - tar->end);
    while (size == -EINTR);
    if (size > 0)
        tar->end += (size_t)size;
    return (int)size; // no more than the buffer holds
}

// The next piece of at most this many bytes; the stream must not end here.
static long take_piece(struct ck_tar *tar, const char **piece, uint64_t size) {
    if (tar->at == tar->end) {
        int more = read_more(tar);
        if (more <= 0)
            return more < 0 ? more : ck_tar_refuse(tar, CK_TAR_TRUNCATED);
    }
    size_t here = tar->end - tar->at;
    if (here > size)
        here = (size_t)size;
    *piece = tar->buffer + tar->at;
    tar->at += here;
    return (long)here;
}

static int skip(struct ck_tar *tar, uint64_t size) {
    const char *piece;
    while (size > 0) {
        long here = take_piece(tar, &piece, size);
        if (here < 0)
            return (int)here;
        size -= (uint64_t)here;
    }
    return 0;
}

static uint64_t padding_of(uint64_t size) {
    return -size % CK_TAR_BLOCK;
}

int ck_tar_take(struct ck_tar *tar, char *to, uint64_t size) {
    uint64_t padding = padding_of(size);
    const char *piece;
    while (size > 0) {
        long here = take_piece(tar, &piece, size);
        if (here < 0)
            return (int)here;
        memcpy(to, piece, (size_t)here);
        to += here;
        size -= (uint64_t)here;
    }
    return skip(tar, padding);
}

long ck_tar_content(struct ck_tar *tar, const char **piece) {
    if (tar->left == 0)
        return 0;
    long here = take_piece(tar, piece, tar->left);
    if (here > 0)
        tar->left -= (uint64_t)here;
    return here;
}

int ck_tar_drain(struct ck_tar *tar) {
    for (;;) {
        tar->at = tar->end = 0;
        int size = read_more(tar);
        if (size <= 0)
            return size;
    }
}

// ---- headers --------------------------------------------------------------------------------

// The next block: 1, 0 when the stream ends in front of it, or as above.
static int next_block(struct ck_tar *tar, const char **block) {
    while (tar->end - tar->at < CK_TAR_BLOCK) {
        int size = read_more(tar);
        if (size < 0)
            return size;
        if (size == 0)
            return tar->end == tar->at ? 0 : ck_tar_refuse(tar, CK_TAR_TRUNCATED);
    }
    *block = tar->buffer + tar->at;
    tar->at += CK_TAR_BLOCK;
    return 1;
}

static bool is_zero(const char *block) {
    char any = 0;
    for (size_t i = 0; i < CK_TAR_BLOCK; i++)
        any |= block[i];
    return any == 0;
}

// The sum counts its own field as spaces. Old tars summed signed characters, and all readers accept it.
static bool is_sum_right(const char *block) {
    int64_t expected;
    if (!ck_tar_number(block + CHECKSUM, CHECKSUM_BYTES, false, &expected))
        return false;
    int unsigned_sum = CHECKSUM_BYTES * ' ', signed_sum = CHECKSUM_BYTES * ' ';
    for (size_t i = 0; i < CK_TAR_BLOCK; i++) {
        unsigned_sum += (unsigned char)block[i];
        signed_sum += (signed char)block[i];
    }
    for (size_t i = CHECKSUM; i < CHECKSUM + CHECKSUM_BYTES; i++) {
        unsigned_sum -= (unsigned char)block[i];
        signed_sum -= (signed char)block[i];
    }
    return expected == unsigned_sum || expected == signed_sum;
}

// The end of an archive is two blocks of zeros. A single one at the end of the stream will do; one in
// front of another header is where readers part.
static int read_end(struct ck_tar *tar) {
    const char *block = NULL;
    int there = next_block(tar, &block);
    if (there < 0)
        return there;
    if (there == 1 && !is_zero(block))
        return ck_tar_refuse(tar, CK_TAR_HEADER);
    tar->ended = true;
    return 0;
}

// The next header block that is not zeros: 1, 0 at the archive's end.
static int next_header(struct ck_tar *tar, const char **header) {
    int there = next_block(tar, header);
    if (there <= 0) {
        tar->ended |= there == 0;
        return there;
    }
    if (is_zero(*header))
        return read_end(tar);
    return is_sum_right(*header) ? 1 : ck_tar_refuse(tar, CK_TAR_HEADER);
}

static bool is_extension(char type) {
    return type == 'x' || type == 'g' || type == 'L' || type == 'K';
}

static int read_extension(struct ck_tar *tar, const char *header) {
    char type = header[TYPE];
    int64_t size;
    if (!ck_tar_are_numbers(header) || !ck_tar_number(header + SIZE, SIZE_BYTES, false, &size) || size < 0)
        return ck_tar_refuse(tar, CK_TAR_HEADER);
    if (type == 'x' || type == 'g')
        return ck_tar_read_pax(tar, (uint64_t)size, type == 'g');
    return ck_tar_read_gnu_text(tar, (uint64_t)size, type == 'L');
}

// Extensions of an entry come in bounded number; global headers count like entries.
static int count_header(struct ck_tar *tar) {
    if (tar->headers >= tar->max_headers)
        return ck_tar_refuse(tar, CK_TAR_ENTRIES);
    tar->headers++;
    return 0;
}

static void forget_entry(struct ck_tar *tar) {
    struct ck_tar_override *override = &tar->override;
    override->pax = override->gnu = override->global = override->has_path = override->has_link =
        override->has_size = false;
    override->has_uid = override->has_gid = override->has_mtime = override->has_device = false;
    tar->extension_size = 0;
    tar->segments = 0;
    tar->left = tar->padding = 0;
    tar->raw[0] = 0;
}

// The entry's own header, behind its extensions: 1, 0 at the end, or as above. Extensions of nothing are
// where readers part.
static int next_entry_header(struct ck_tar *tar, const char **header) {
    for (;;) {
        int there = next_header(tar, header);
        if (there == 0 && (tar->override.pax || tar->override.gnu || tar->override.global))
            return ck_tar_refuse(tar, CK_TAR_TRUNCATED);
        if (there <= 0)
            return there;
        char type = (*header)[TYPE];
        int error = type == 'x' || type == 'L' || type == 'K' ? 0 : count_header(tar);
        if (error < 0 || !is_extension(type))
            return error < 0 ? error : 1;
        error = read_extension(tar, *header);
        if (error < 0)
            return error;
    }
}

int ck_tar_next(struct ck_tar *tar) {
    const char *header = NULL;
    if (tar->ended)
        return 0;
    int error = skip(tar, tar->left + tar->padding);
    if (error < 0)
        return error;
    forget_entry(tar);
    int there = next_entry_header(tar, &header);
    if (there <= 0)
        return there;
    error = ck_tar_fill_entry(tar, header);
    tar->left = error < 0 ? 0 : tar->entry.size;
    tar->padding = padding_of(tar->left);
    return error < 0 ? error : 1;
}

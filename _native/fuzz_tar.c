// fuzz_tar.c: any bytes are an archive until files_tar.c says no.
//
// libFuzzer:  clang -fsanitize=fuzzer,address,undefined -DCK_LIBFUZZER fuzz_tar.c files_tar*.c
// plain, AFL:  cc -fsanitize=address,undefined fuzz_tar.c files_tar*.c; ./a.out FILE…
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "files_entry.h"

static volatile uint64_t seen; // written, so that no read is optimised away

// What the unpacker relies on: it puts names together with nothing but "/".
static void check_name(const char *name) {
    size_t length = strlen(name);
    if (name[0] == '/' || (length > 0 && name[length - 1] == '/') || length >= CK_FILE_MAX_PATH)
        abort();
    for (const char *at = name, *end; *at != 0; at = *end == 0 ? end : end + 1) {
        end = strchrnul(at, '/');
        size_t size = (size_t)(end - at);
        if (size == 0 || size > 255 || (size <= 2 && strncmp(at, "..", size) == 0))
            abort();
    }
}

static void check_entry(const struct ck_tar *tar) {
    const struct ck_tar_entry *entry = &tar->entry;
    struct ck_tar_xattr xattr;
    check_name(entry->name);
    bool named =
        strlen(entry->name) == entry->name_size && (entry->name_size > 0 || entry->kind == CK_TAR_DIRECTORY);
    bool sized = entry->size == 0 || entry->kind == CK_TAR_FILE;
    if (!named || !sized || entry->mode > 07777 || entry->uid == CK_TAR_NO_ID || entry->gid == CK_TAR_NO_ID ||
        entry->mtime_ns >= 1000000000 || entry->kind > CK_TAR_FIFO)
        abort();
    if (entry->kind == CK_TAR_HARDLINK)
        check_name(entry->link);
    if ((entry->kind == CK_TAR_HARDLINK || entry->kind == CK_TAR_SYMLINK) && entry->link[0] == 0)
        abort();
    uint64_t end = 0, data = 0;
    for (uint32_t i = 0; entry->sparse && i < tar->segments; i++) {
        struct ck_tar_segment segment = ck_tar_segment(tar, i);
        if (segment.offset < end || segment.size > entry->real_size - segment.offset)
            abort();
        end = segment.offset + segment.size;
        data += segment.size;
    }
    if (entry->sparse ? data != entry->size || end > entry->real_size : entry->real_size != entry->size)
        abort();
    for (size_t at = 0; ck_tar_next_xattr(tar, &at, &xattr);) {
        seen += strlen(xattr.name);
        for (size_t i = 0; i < xattr.size; i++)
            seen += ((const unsigned char *)xattr.value)[i];
    }
}

static uint64_t read_content(struct ck_tar *tar) {
    const char *piece;
    uint64_t size = 0;
    for (long here; (here = ck_tar_content(tar, &piece)) > 0; size += (uint64_t)here)
        seen += (unsigned char)piece[0] + (unsigned char)piece[here - 1];
    return size;
}

static void read_archive(struct ck_tar *tar) {
    int there;
    while ((there = ck_tar_next(tar)) == 1) {
        check_entry(tar);
        bool wanted = tar->headers % 2 == 0; // or is skipped
        if (wanted && read_content(tar) != tar->entry.size && tar->reason != CK_TAR_TRUNCATED)
            abort();
    }
    if (there != 0 && (there != -EBADMSG || tar->reason == CK_TAR_OK))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct ck_tar *tar;
    static int file = -1;
    if (tar == NULL) {
        tar = calloc(1, sizeof(*tar));
        file = memfd_create("archive", MFD_CLOEXEC);
    }
    if (tar == NULL || ftruncate(file, 0) < 0 || pwrite(file, data, size, 0) != (ssize_t)size)
        return 0;
    lseek(file, 0, SEEK_SET);
    memset(tar, 0, offsetof(struct ck_tar, extension)); // the rest is never read before it is written
    tar->source = file;
    tar->max_headers = 100000;
    read_archive(tar);
    return 0;
}

#ifndef CK_LIBFUZZER
#include "fuzz_main.h"
#endif

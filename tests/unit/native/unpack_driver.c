// unpack_driver.c: unpack a tar stream, or say what is in it.
//
//   unpack_driver DIRECTORY FLAGS MAX_BYTES MAX_ENTRIES UID GID [ROOT PATH]   below ROOT, PATH is DIRECTORY
//   unpack_driver list
//
// The archive comes on stdin. Unpacking prints "error reason entries bytes devices" and the entry's name;
// a list is of records "kind mode uid gid major minor size mtime ns", name and link, NUL behind each.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files_entry.h"
#include "files_tar.h"

// Since the exec: what getrusage(2) says includes the process that forked us.
static long largest_kib(void) {
    char line[256];
    long kib = 0;
    FILE *status = fopen("/proc/self/status", "re");
    while (status != NULL && fgets(line, sizeof(line), status) != NULL)
        sscanf(line, "VmHWM: %ld", &kib);
    if (status != NULL)
        fclose(status);
    return kib;
}

static int open_directory(const char *path) {
    return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int unpack(int argc, char **argv) {
    struct ck_unpack unpack = {
        .directory = open_directory(argv[1]),
        .flags = (uint32_t)strtoul(argv[2], NULL, 0),
        .max_bytes = strtoull(argv[3], NULL, 0),
        .max_entries = strtoull(argv[4], NULL, 0),
        .uid = strtoull(argv[5], NULL, 0),
        .gid = strtoull(argv[6], NULL, 0),
    };
    unpack.root = argc > 7 ? open_directory(argv[7]) : unpack.directory;
    unpack.path = argc > 7 ? argv[8] : NULL;
    if (unpack.directory < 0 || unpack.root < 0)
        return 2;
    int error = ck_unpack(&unpack);
    printf("%d %u %llu %llu %llu %ld\n", -error, unpack.reason, (unsigned long long)unpack.entries,
           (unsigned long long)unpack.bytes, (unsigned long long)unpack.devices, largest_kib());
    printf("%s\n", unpack.name);
    return 0;
}

static void print_entry(const struct ck_tar_entry *entry) {
    printf("%u %u %u %u %u %u %llu %lld %u", entry->kind, entry->mode, entry->uid, entry->gid, entry->major,
           entry->minor, (unsigned long long)entry->real_size, (long long)entry->mtime, entry->mtime_ns);
    bool link = entry->kind == CK_TAR_HARDLINK || entry->kind == CK_TAR_SYMLINK;
    printf("%c%s%c%s%c", 0, entry->name, 0, link ? entry->link : "", 0);
}

static int list(void) {
    struct ck_tar *tar = calloc(1, sizeof(*tar));
    if (tar == NULL)
        return 2;
    tar->max_headers = UINT64_MAX;
    int there;
    while ((there = ck_tar_next(tar)) == 1)
        print_entry(&tar->entry);
    if (there < 0)
        fprintf(stderr, "%d %u %s\n", -there, tar->reason, tar->raw);
    free(tar);
    return there < 0;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "list") == 0)
        return list();
    return argc == 7 || argc == 9 ? unpack(argc, argv) : 2;
}

// files_tar_header.c: one header block, with the extensions before it, becomes an entry.
//
// tar(5) of libarchive and GNU tar's manual describe the fields; POSIX.1-2017 pax(1) the ustar format.
#include <errno.h>
#include <string.h>

#include "files_entry.h"

struct span {
    uint16_t at, size;
};

static const struct span NAME = {0, 100}, MODE = {100, 8}, UID = {108, 8}, GID = {116, 8}, SIZE = {124, 12},
                         MTIME = {136, 12}, LINK = {157, 100}, MAGIC = {257, 8}, MAJOR = {329, 8},
                         MINOR = {337, 8}, PREFIX = {345, 155};
enum { TYPE = 156, STAR_MAGIC = 508, STAR_PREFIX_END = 475, SPARSE_MAP = 386 };

#define LARGEST_OCTAL_SIZE 077777777777 // larger ones need an extension
#define MAX_MODE 07777777               // seven digits
#define MAX_MAJOR 0xfffu                // makedev(3), as the kernel keeps it
#define MAX_MINOR 0xfffffu

// ---- numbers --------------------------------------------------------------------------------

// GNU's base 256: two's complement, big-endian, behind a byte that is 0x80 or 0xff as the number is negative.
static bool read_base256(const unsigned char *field, size_t size, int64_t *number) {
    bool negative = field[0] == 0xff;
    uint64_t value = negative ? UINT64_MAX : 0;
    if (!negative && field[0] != 0x80)
        return false;
    for (size_t i = 1; i < size; i++) {
        uint64_t above = value >> 55; // what the shift pushes out, and the sign
        if (above != (negative ? 0x1ff : 0))
            return false;
        value = value << 8 | field[i];
    }
    *number = (int64_t)value;
    return true;
}

// Octal digits after spaces, then nothing but NULs and spaces.
bool ck_tar_number(const char *field, size_t size, bool may_be_empty, int64_t *number) {
    if (field[0] & 0x80)
        return read_base256((const unsigned char *)field, size, number);
    size_t i = 0, first;
    while (i < size && field[i] == ' ')
        i++;
    *number = 0;
    for (first = i; i < size && field[i] >= '0' && field[i] <= '7'; i++)
        *number = *number << 3 | (field[i] - '0');
    bool empty = i == first;
    while (i < size && (field[i] == ' ' || field[i] == 0))
        i++;
    return i == size && (may_be_empty || !empty);
}

// Readers differ in which fields they look at when an extension overrules them, or for which kinds.
bool ck_tar_are_numbers(const char *header) {
    static const struct span all[] = {{100, 8}, {108, 8}, {116, 8}, {124, 12}, {136, 12}, {329, 8}, {337, 8}};
    int64_t number;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (!ck_tar_number(header + all[i].at, all[i].size, true, &number))
            return false;
    }
    return true;
}

static bool read_range(const char *header, struct span field, uint32_t most, uint32_t *to) {
    int64_t number;
    if (!ck_tar_number(header + field.at, field.size, true, &number) || number < 0 || number > most)
        return false;
    *to = (uint32_t)number;
    return true;
}

// ---- formats --------------------------------------------------------------------------------

static bool are_zero(const char *from, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (from[i] != 0)
            return false;
    }
    return true;
}

// Only ustar has a prefix. GNU tar keeps other things there and V7 nothing, and some readers take
// them for a prefix all the same; star's is shorter.
static bool has_known_format(const char *header, bool *prefix) {
    const char *magic = header + MAGIC.at;
    *prefix = memcmp(magic, "ustar", 6) == 0;
    if (header[TYPE] == 'S') // its map is there
        return memcmp(magic, "ustar  ", 8) == 0 && are_zero(header + PREFIX.at, SPARSE_MAP - PREFIX.at);
    if (*prefix)
        return memcmp(header + STAR_MAGIC, "tar", 4) != 0 || header[STAR_PREFIX_END] == 0;
    bool gnu = memcmp(magic, "ustar  ", 8) == 0;
    return (gnu || are_zero(magic, MAGIC.size)) && are_zero(header + PREFIX.at, PREFIX.size);
}

// ---- names ----------------------------------------------------------------------------------

static uint32_t append_field(char *to, uint32_t at, const char *header, struct span field) {
    const char *from = header + field.at;
    for (size_t i = 0; i < field.size && from[i] != 0; i++)
        to[at++] = from[i];
    to[at] = 0;
    return at;
}

// A name in normal form: relative, components parted by one slash each. False for "..", for a
// component no file system takes, and for what does not fit; `to` has room for all of `from`.
static bool normalise(const char *from, char *to, uint32_t *size) {
    uint32_t at = 0;
    while (*from != 0) {
        size_t length = 0;
        while (from[length] != 0 && from[length] != '/')
            length++;
        bool dot = length == 1 && from[0] == '.';
        if ((length == 2 && from[0] == '.' && from[1] == '.') || length > CK_TAR_MAX_COMPONENT)
            return false;
        if (length > 0 && !dot) {
            if (at > 0)
                to[at++] = '/';
            for (size_t i = 0; i < length; i++)
                to[at++] = from[i];
        }
        from += length;
        from += *from == '/';
    }
    to[at] = 0;
    *size = at;
    return true;
}

static int fill_name(struct ck_tar *tar, const char *header, bool prefix) {
    struct ck_tar_entry *entry = &tar->entry;
    uint32_t size = tar->override.path_size;
    if (tar->override.has_path) {
        memcpy(tar->raw, tar->override.path, size + 1);
    } else {
        size = prefix ? append_field(tar->raw, 0, header, PREFIX) : 0;
        if (size > 0)
            tar->raw[size++] = '/';
        uint32_t prefix_size = size;
        size = append_field(tar->raw, size, header, NAME);
        if (size == prefix_size)
            return ck_tar_refuse(tar, CK_TAR_NAME);
    }
    if (!normalise(tar->raw, entry->name, &entry->name_size))
        return ck_tar_refuse(tar, CK_TAR_NAME);
    bool slash = size > 0 && tar->raw[size - 1] == '/';
    if (slash && header[TYPE] == 0 && !tar->override.has_path && entry->name_size > 0) // as V7 had it
        entry->kind = CK_TAR_DIRECTORY;
    bool directory = entry->kind == CK_TAR_DIRECTORY;
    return (slash || entry->name_size == 0) && !directory ? ck_tar_refuse(tar, CK_TAR_NAME) : 0;
}

static int fill_link(struct ck_tar *tar, const char *header) {
    struct ck_tar_entry *entry = &tar->entry;
    char text[CK_FILE_MAX_PATH];
    uint32_t size = tar->override.link_size;
    if (entry->kind != CK_TAR_HARDLINK && entry->kind != CK_TAR_SYMLINK)
        return 0;
    if (tar->override.has_link)
        memcpy(text, tar->override.link, size + 1);
    else
        size = append_field(text, 0, header, LINK);
    if (entry->kind == CK_TAR_SYMLINK)
        memcpy(entry->link, text, size + 1);
    else if (!normalise(text, entry->link, &size))
        size = 0;
    return size == 0 ? ck_tar_refuse(tar, CK_TAR_LINK) : 0;
}

// ---- the rest -------------------------------------------------------------------------------

static bool find_kind(char type, enum ck_tar_kind *kind) {
    switch (type) {
    case 0:
    case '0':
    case '7': // meant to be contiguous on disk
    case 'S': // with holes
        *kind = CK_TAR_FILE;
        return true;
    case '1':
        *kind = CK_TAR_HARDLINK;
        return true;
    case '2':
        *kind = CK_TAR_SYMLINK;
        return true;
    case '3':
        *kind = CK_TAR_CHARACTER;
        return true;
    case '4':
        *kind = CK_TAR_BLOCKDEV;
        return true;
    case '5':
        *kind = CK_TAR_DIRECTORY;
        return true;
    case '6':
        *kind = CK_TAR_FIFO;
        return true;
    default:
        return false;
    }
}

// What has no content has no size: readers differ in whether they skip it. A size from an extension
// is for files that the field is too small for, and then both agree or the field says nothing.
static int fill_size(struct ck_tar *tar, const char *header) {
    const struct ck_tar_override *from = &tar->override;
    int64_t size;
    bool needed = tar->entry.kind == CK_TAR_FILE && !from->has_size;
    if (!ck_tar_number(header + SIZE.at, SIZE.size, !needed, &size) || size < 0)
        return ck_tar_refuse(tar, CK_TAR_HEADER);
    if (from->has_size && from->size <= LARGEST_OCTAL_SIZE && from->size != (uint64_t)size)
        return ck_tar_refuse(tar, CK_TAR_EXTENSION);
    tar->entry.size = from->has_size ? from->size : (uint64_t)size;
    tar->entry.real_size = tar->entry.size;
    tar->entry.sparse = false;
    return tar->entry.size > 0 && tar->entry.kind != CK_TAR_FILE ? ck_tar_refuse(tar, CK_TAR_HEADER) : 0;
}

static int fill_owner_and_time(struct ck_tar *tar, const char *header) {
    struct ck_tar_entry *entry = &tar->entry;
    const struct ck_tar_override *from = &tar->override;
    int64_t mode;
    bool right = ck_tar_number(header + MODE.at, MODE.size, true, &mode) && mode >= 0 && mode <= MAX_MODE;
    entry->mode = (uint32_t)mode & 07777;
    if (from->has_uid)
        entry->uid = from->uid;
    else
        right = right && read_range(header, UID, CK_TAR_NO_ID - 1, &entry->uid);
    if (from->has_gid)
        entry->gid = from->gid;
    else
        right = right && read_range(header, GID, CK_TAR_NO_ID - 1, &entry->gid);
    entry->mtime_ns = from->has_mtime ? from->mtime_ns : 0;
    entry->mtime = from->mtime;
    if (!from->has_mtime)
        right = right && ck_tar_number(header + MTIME.at, MTIME.size, true, &entry->mtime);
    return right ? 0 : ck_tar_refuse(tar, CK_TAR_HEADER);
}

static int fill_device(struct ck_tar *tar, const char *header) {
    struct ck_tar_entry *entry = &tar->entry;
    if (entry->kind != CK_TAR_CHARACTER && entry->kind != CK_TAR_BLOCKDEV)
        return 0;
    bool known = read_range(header, MAJOR, MAX_MAJOR, &entry->major) &&
                 read_range(header, MINOR, MAX_MINOR, &entry->minor) && !tar->override.has_device;
    return known ? 0 : ck_tar_refuse(tar, CK_TAR_TYPE);
}

int ck_tar_fill_entry(struct ck_tar *tar, const char *header) {
    bool prefix;
    append_field(tar->raw, 0, header, NAME); // for the error of what comes first
    if (!ck_tar_are_numbers(header) || !has_known_format(header, &prefix))
        return ck_tar_refuse(tar, CK_TAR_HEADER);
    if (!find_kind(header[TYPE], &tar->entry.kind))
        return ck_tar_refuse(tar, CK_TAR_TYPE);
    int error = fill_name(tar, header, prefix);
    if (error == 0)
        error = fill_link(tar, header);
    if (error == 0)
        error = fill_size(tar, header);
    if (error == 0)
        error = fill_owner_and_time(tar, header);
    if (error == 0)
        error = fill_device(tar, header);
    return error == 0 && header[TYPE] == 'S' ? ck_tar_read_sparse(tar, header) : error;
}

// files_pack_header.c: one entry of a tar archive as header blocks. Pure: see files_pack.h.
#include "files_pack.h"

#define NAME_SIZE 100u
#define PREFIX_SIZE 155u

struct header { // ustar, POSIX.1-2017 pax(1)
    char name[NAME_SIZE];
    char mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8];
    char type;
    char link[NAME_SIZE];
    char magic[6], version[2];
    char user[32], group[32];
    char major[8], minor[8];
    char prefix[PREFIX_SIZE];
    char padding[12];
};

_Static_assert(sizeof(struct header) == CK_BLOCK, "a header is a block");

static void put_zeros(struct ck_writer *to, size_t count) {
    static const char zeros[CK_BLOCK];
    for (; count > CK_BLOCK; count -= CK_BLOCK)
        ck_put_bytes(to, zeros, CK_BLOCK);
    ck_put_bytes(to, zeros, count);
}

static void copy(char *to, const char *from, size_t size) {
    for (size_t i = 0; i < size; i++)
        to[i] = from[i];
}

// ---- extended header records ------------------------------------------------------------------------------

static size_t digits_of(size_t number) {
    size_t digits = 1;
    for (; number >= 10; number /= 10)
        digits++;
    return digits;
}

// "31 SCHILY.xattr.user.name=value\n": the number counts itself too.
bool ck_put_record(struct ck_writer *pax, const char *key, const char *more, const char *value, size_t size) {
    size_t rest = 1 + ck_string_size(key) + ck_string_size(more) + 1 + size + 1;
    size_t whole = rest + digits_of(rest);
    whole = rest + digits_of(whole);
    if (whole > pax->capacity - pax->size)
        return false;
    ck_put_number(pax, whole);
    ck_put_string(pax, " ");
    ck_put_string(pax, key);
    ck_put_string(pax, more);
    ck_put_string(pax, "=");
    ck_put_bytes(pax, value, size);
    ck_put_string(pax, "\n");
    return true;
}

static bool put_number_record(struct ck_writer *pax, const char *key, uint64_t number) {
    char text[24];
    struct ck_writer to = {text, 0, sizeof(text)};
    ck_put_number(&to, number);
    return ck_put_record(pax, key, "", text, to.size);
}

// Seconds and their fraction without zeros at its end; before 1970 the fraction counts away from zero.
static bool put_time_record(struct ck_writer *pax, int64_t seconds, uint32_t nanoseconds) {
    char text[40];
    struct ck_writer to = {text, 0, sizeof(text)};
    if (seconds < 0 && nanoseconds > 0) {
        seconds++;
        nanoseconds = 1000000000 - nanoseconds;
        if (seconds == 0)
            ck_put_string(&to, "-");
    }
    ck_put_signed(&to, seconds);
    if (nanoseconds > 0) {
        char digits[10] = ".000000000";
        for (size_t i = 9; i > 0; i--, nanoseconds /= 10)
            digits[i] = (char)('0' + nanoseconds % 10);
        size_t size = sizeof(digits);
        while (digits[size - 1] == '0')
            size--;
        ck_put_bytes(&to, digits, size);
    }
    return ck_put_record(pax, "mtime", "", text, to.size);
}

// ---- ustar ------------------------------------------------------------------------------------------------

static uint64_t room_of(size_t width) { // the largest number in octal and a NUL
    return ((uint64_t)1 << 3 * (width - 1)) - 1;
}

static void put_octal(char *to, size_t width, uint64_t number) {
    if (number > room_of(width))
        number = 0; // the extended header has it
    to[width - 1] = 0;
    for (size_t i = width - 1; i > 0; i--, number >>= 3)
        to[i - 1] = (char)('0' + (number & 7));
}

// Split a long name at a slash: prefix, name. False when ustar has no room for it.
static bool put_name(struct header *header, const char *name) {
    size_t size = ck_string_size(name);
    if (size <= NAME_SIZE) {
        copy(header->name, name, size);
        return true;
    }
    for (size_t at = size < PREFIX_SIZE + 1 ? size - 1 : PREFIX_SIZE; at > 0 && size - at - 1 <= NAME_SIZE;
         at--) {
        if (name[at] != '/' || at + 1 == size)
            continue;
        copy(header->prefix, name, at);
        copy(header->name, name + at + 1, size - at - 1);
        return true;
    }
    copy(header->name, name, NAME_SIZE);
    return false;
}

static void seal(struct header *header) {
    const unsigned char *bytes = (const unsigned char *)header;
    uint64_t sum = 0;
    copy(header->magic, "ustar", 6);
    copy(header->version, "00", 2);
    copy(header->checksum, "        ", 8);
    for (size_t i = 0; i < sizeof(*header); i++)
        sum += bytes[i];
    put_octal(header->checksum, 7, sum);
}

static void put_extension(struct ck_writer *out, const struct ck_writer *pax) {
    struct header header = {.name = "PaxHeaders", .type = 'x'};
    put_octal(header.mode, sizeof(header.mode), 0644);
    put_octal(header.uid, sizeof(header.uid), 0);
    put_octal(header.gid, sizeof(header.gid), 0);
    put_octal(header.size, sizeof(header.size), pax->size);
    put_octal(header.mtime, sizeof(header.mtime), 0);
    seal(&header);
    ck_put_bytes(out, (const char *)&header, sizeof(header));
    ck_put_bytes(out, pax->data, pax->size);
    put_zeros(out, -pax->size % CK_BLOCK);
}

static bool extend(struct ck_writer *pax, const struct ck_entry_header *entry, bool long_name) {
    size_t link = ck_string_size(entry->link);
    bool fits = true;
    if (long_name)
        fits = ck_put_record(pax, "path", "", entry->name, ck_string_size(entry->name));
    if (link > NAME_SIZE)
        fits = fits && ck_put_record(pax, "linkpath", "", entry->link, link);
    if (entry->size > room_of(sizeof(((struct header *)0)->size)))
        fits = fits && put_number_record(pax, "size", entry->size);
    if (entry->uid > room_of(sizeof(((struct header *)0)->uid)))
        fits = fits && put_number_record(pax, "uid", entry->uid);
    if (entry->gid > room_of(sizeof(((struct header *)0)->gid)))
        fits = fits && put_number_record(pax, "gid", entry->gid);
    if (entry->nanoseconds > 0 || entry->seconds < 0 ||
        (uint64_t)entry->seconds > room_of(sizeof(((struct header *)0)->mtime)))
        fits = fits && put_time_record(pax, entry->seconds, entry->nanoseconds);
    return fits;
}

bool ck_put_entry(struct ck_writer *out, struct ck_writer *pax, const struct ck_entry_header *entry) {
    struct header header = {.type = entry->type};
    bool long_name = !put_name(&header, entry->name);
    size_t link = ck_string_size(entry->link);
    if (!extend(pax, entry, long_name))
        return false;
    copy(header.link, entry->link, link < NAME_SIZE ? link : NAME_SIZE);
    put_octal(header.mode, sizeof(header.mode), entry->mode & 07777);
    put_octal(header.uid, sizeof(header.uid), entry->uid);
    put_octal(header.gid, sizeof(header.gid), entry->gid);
    put_octal(header.size, sizeof(header.size), entry->size);
    put_octal(header.mtime, sizeof(header.mtime), entry->seconds < 0 ? 0 : (uint64_t)entry->seconds);
    put_octal(header.major, sizeof(header.major), entry->major);
    put_octal(header.minor, sizeof(header.minor), entry->minor);
    seal(&header);
    if (pax->size > 0)
        put_extension(out, pax);
    ck_put_bytes(out, (const char *)&header, sizeof(header));
    return true;
}

// files_tar_pax.c: what stands before an entry's header: pax records, GNU tar's long names.
//
// pax(1), "pax Header Block": records "SIZE KEY=VALUE\n", SIZE counts all of it. Keys that we do not know
// are ignored, as the standard wants; broken records are not, and a key that matters comes once.
#include <errno.h>
#include <string.h>

#include "files_entry.h"

struct text { // not NUL-terminated
    const char *at;
    size_t size;
};

static bool is(struct text text, const char *word) {
    return text.size > 0 && *text.at == *word && text.size == strlen(word) &&
           memcmp(text.at, word, text.size) == 0;
}

static bool begins(struct text text, const char *word) {
    return text.size > 0 && *text.at == *word && text.size > strlen(word) &&
           memcmp(text.at, word, strlen(word)) == 0;
}

static bool has_byte(struct text text, char byte) {
    for (size_t i = 0; i < text.size; i++) {
        if (text.at[i] == byte)
            return true;
    }
    return false;
}

// ---- records --------------------------------------------------------------------------------

// Take one record off the front; false when it is malformed.
static bool take_record(struct text *rest, struct text *key, struct text *value) {
    size_t size = 0, digits = 0;
    for (; digits < rest->size && rest->at[digits] >= '0' && rest->at[digits] <= '9'; digits++) {
        size = size * 10 + (size_t)(rest->at[digits] - '0');
        if (size > rest->size)
            return false;
    }
    if (digits == 0 || rest->at[0] == '0' || size < digits + 4 || rest->at[digits] != ' ' ||
        rest->at[size - 1] != '\n')
        return false;
    struct text record = {rest->at + digits + 1, size - digits - 2};
    key->at = record.at;
    key->size = 0; // ends at "=", which is a NUL once apply_record has seen an attribute's name
    while (key->size < record.size && record.at[key->size] != '=' && record.at[key->size] != 0)
        key->size++;
    if (key->size == 0 || key->size == record.size)
        return false;
    *value = (struct text){key->at + key->size + 1, record.size - key->size - 1};
    *rest = (struct text){rest->at + size, rest->size - size};
    return true;
}

bool ck_tar_next_xattr(const struct ck_tar *tar, size_t *at, struct ck_tar_xattr *xattr) {
    static const char prefix[] = "SCHILY.xattr.";
    struct text rest = {tar->extension + *at, tar->extension_size - *at}, key, value;
    while (rest.size > 0 && take_record(&rest, &key, &value)) {
        if (!begins(key, prefix))
            continue;
        *at = (size_t)(rest.at - tar->extension);
        *xattr =
            (struct ck_tar_xattr){.name = key.at + strlen(prefix), .value = value.at, .size = value.size};
        return true;
    }
    return false;
}

// ---- values ---------------------------------------------------------------------------------

// Digits and nothing else, at most this much.
static bool read_decimal(struct text text, uint64_t most, uint64_t *number) {
    *number = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(text.at[i] - '0');
        if (*number > (most - digit) / 10)
            return false;
        *number = *number * 10 + digit;
    }
    return text.size > 0;
}

static bool read_id(struct text text, uint32_t *id) {
    uint64_t number;
    if (!read_decimal(text, CK_TAR_NO_ID - 1, &number))
        return false;
    *id = (uint32_t)number;
    return true;
}

// "[-]SECONDS[.FRACTION]"; digits beyond nanoseconds are dropped.
static bool read_time(struct text text, int64_t *seconds, uint32_t *nanoseconds) {
    bool negative = text.size > 0 && text.at[0] == '-';
    struct text whole = {text.at + negative, text.size - negative}, fraction = {NULL, 0};
    for (size_t i = 0; i < whole.size; i++) {
        if (whole.at[i] == '.') {
            fraction = (struct text){whole.at + i + 1, whole.size - i - 1};
            whole.size = i;
        }
    }
    uint64_t number, part = 0;
    if (!read_decimal(whole, INT64_MAX, &number) || has_byte(fraction, '.'))
        return false;
    uint64_t unit = 100000000;
    for (size_t i = 0; i < fraction.size; i++, unit /= 10) {
        if (fraction.at[i] < '0' || fraction.at[i] > '9')
            return false;
        part += (uint64_t)(fraction.at[i] - '0') * unit;
    }
    *seconds = negative ? -(int64_t)number - (part > 0) : (int64_t)number;
    *nanoseconds = (uint32_t)(negative && part > 0 ? 1000000000 - part : part);
    return true;
}

static int copy_text(struct ck_tar *tar, struct text text, char *to, uint32_t *size) {
    if (text.size == 0 || text.size >= CK_FILE_MAX_PATH || has_byte(text, 0))
        return ck_tar_refuse(tar, CK_TAR_NAME);
    memcpy(to, text.at, text.size);
    to[text.size] = 0;
    *size = (uint32_t)text.size;
    return 0;
}

// ---- keys -----------------------------------------------------------------------------------

// A key that says what the entry is: 1 when it was such a key and is right, 0 when it is another,
// -EBADMSG. `seen` is set: twice is once too many, since readers differ in which one they take.
static int apply_main_key(struct ck_tar *tar, struct text key, struct text value) {
    struct ck_tar_override *to = &tar->override;
    bool *seen = is(key, "path")       ? &to->has_path
                 : is(key, "linkpath") ? &to->has_link
                 : is(key, "size")     ? &to->has_size
                 : is(key, "uid")      ? &to->has_uid
                 : is(key, "gid")      ? &to->has_gid
                 : is(key, "mtime")    ? &to->has_mtime
                                       : NULL;
    if (seen == NULL)
        return 0;
    if (*seen)
        return ck_tar_refuse(tar, CK_TAR_EXTENSION);
    *seen = true;
    if (seen == &to->has_path)
        return copy_text(tar, value, to->path, &to->path_size) < 0 ? -EBADMSG : 1;
    if (seen == &to->has_link)
        return copy_text(tar, value, to->link, &to->link_size) < 0 ? -EBADMSG : 1;
    bool right = seen == &to->has_size  ? read_decimal(value, INT64_MAX, &to->size)
                 : seen == &to->has_uid ? read_id(value, &to->uid)
                 : seen == &to->has_gid ? read_id(value, &to->gid)
                                        : read_time(value, &to->mtime, &to->mtime_ns);
    return right ? 1 : ck_tar_refuse(tar, CK_TAR_EXTENSION);
}

// Sparse files in pax clothes, of GNU tar and star: the content is not the file.
static bool is_sparse_key(struct text key) {
    return begins(key, "GNU.sparse.") || is(key, "SCHILY.realsize");
}

static bool is_known_charset(struct text value) {
    return is(value, "BINARY") || is(value, "ISO-IR 10646 2000 UTF-8");
}

static int apply_record(struct ck_tar *tar, struct text key, struct text value) {
    int done = apply_main_key(tar, key, value);
    if (done != 0)
        return done < 0 ? done : 0;
    if (is_sparse_key(key))
        return ck_tar_refuse(tar, CK_TAR_TYPE);
    if (is(key, "hdrcharset") && !is_known_charset(value))
        return ck_tar_refuse(tar, CK_TAR_EXTENSION);
    if (begins(key, "SCHILY.xattr."))
        tar->extension[key.at + key.size - tar->extension] = 0; // the name is a C string from now on
    tar->override.has_device |= is(key, "SCHILY.devmajor") || is(key, "SCHILY.devminor");
    return 0;
}

// Global records are applied by some readers and ignored by others: only what means nothing is welcome.
static int check_global_record(struct ck_tar *tar, struct text key) {
    static const char *const meaningful[] = {"path", "linkpath", "size", "uid", "gid", "mtime", "hdrcharset"};
    for (size_t i = 0; i < sizeof(meaningful) / sizeof(meaningful[0]); i++) {
        if (is(key, meaningful[i]))
            return ck_tar_refuse(tar, CK_TAR_EXTENSION);
    }
    bool vendor = begins(key, "SCHILY.") || begins(key, "GNU.") || begins(key, "LIBARCHIVE.");
    return vendor ? ck_tar_refuse(tar, CK_TAR_EXTENSION) : 0;
}

int ck_tar_read_pax(struct ck_tar *tar, uint64_t size, bool global) {
    if (size > CK_TAR_MAX_EXTENSION || tar->override.pax || tar->override.gnu)
        return ck_tar_refuse(tar, CK_TAR_EXTENSION);
    int error = ck_tar_take(tar, tar->extension, size);
    if (error < 0)
        return error;
    struct text rest = {tar->extension, (size_t)size}, key, value;
    while (rest.size > 0) {
        if (!take_record(&rest, &key, &value) || key.at[key.size] != '=')
            return ck_tar_refuse(tar, CK_TAR_EXTENSION);
        error = global ? check_global_record(tar, key) : apply_record(tar, key, value);
        if (error < 0)
            return error;
    }
    tar->override.pax = !global;
    tar->override.global |= global;
    tar->extension_size = global ? 0 : (size_t)size;
    return 0;
}

int ck_tar_read_gnu_text(struct ck_tar *tar, uint64_t size, bool is_path) {
    struct ck_tar_override *to = &tar->override;
    if (to->pax || (is_path ? to->has_path : to->has_link))
        return ck_tar_refuse(tar, CK_TAR_EXTENSION);
    if (size > CK_FILE_MAX_PATH)
        return ck_tar_refuse(tar, CK_TAR_NAME);
    int error = ck_tar_take(tar, tar->extension, size);
    if (error < 0)
        return error;
    struct text text = {tar->extension, (size_t)size};
    if (text.size > 0 && text.at[text.size - 1] == 0) // GNU tar counts its NUL, others leave it out
        text.size--;
    to->gnu = true;
    if (is_path) {
        to->has_path = true;
        return copy_text(tar, text, to->path, &to->path_size);
    }
    to->has_link = true;
    return copy_text(tar, text, to->link, &to->link_size);
}

// files_pack_xattr.c: see files_pack.h. What goes into archives is what UNPACK takes out of them: user.*
// and file capabilities. The rest belongs to the host (SELinux labels) or to overlayfs.
#include <linux/errno.h>

#include "execute.h"
#include "files_pack.h"
#include "syscalls.h"

static const char overlay_of_root[] = "trusted.overlay.", overlay_of_user[] = "user.overlay.";

// What follows the prefix, or NULL.
static const char *after(const char *text, const char *prefix) {
    for (; *prefix != 0; prefix++, text++) {
        if (*text != *prefix)
            return NULL;
    }
    return text;
}

static bool is_same(const char *a, const char *b) {
    const char *rest = after(a, b);
    return rest != NULL && *rest == 0;
}

// An entry whose content is somewhere else cannot be packed from its layer alone (overlayfs.rst, redirect_dir
// and metacopy; neither is switched on by us).
static int heed_overlay(struct ck_xattrs *xattrs, const char *what, long size) {
    if (is_same(what, "redirect") || is_same(what, "metacopy"))
        return -EOPNOTSUPP;
    if (is_same(what, "whiteout"))
        xattrs->whiteout = true;
    if (is_same(what, "opaque"))
        xattrs->opaque = size == 1 && xattrs->value[0] == 'y'; // "x": some entries are whiteouts by attribute
    return 0;
}

static int take_one(struct ck_xattrs *xattrs, int file, const char *name, uint32_t flags) {
    const char *overlay = after(name, flags & CK_FILE_USER_XATTR ? overlay_of_user : overlay_of_root);
    bool heeded = flags & CK_FILE_LAYER && overlay != NULL;
    bool kept = after(name, "user.") != NULL && after(name, overlay_of_user) == NULL;
    if (!heeded && !kept && !is_same(name, "security.capability"))
        return 0;
    long size = CK_SYS4(__NR_fgetxattr, file, name, xattrs->value, sizeof(xattrs->value));
    if (size < 0)
        return size == -ENODATA ? 0 : (int)size; // removed meanwhile
    if (heeded)
        return heed_overlay(xattrs, overlay, size);
    return ck_put_record(&xattrs->pax, "SCHILY.xattr.", name, xattrs->value, (size_t)size) ? 0 : -E2BIG;
}

int ck_read_xattrs(struct ck_xattrs *xattrs, int file, uint32_t flags) {
    long size = CK_SYS3(__NR_flistxattr, file, xattrs->list, sizeof(xattrs->list));
    size_t count = 0;
    xattrs->opaque = xattrs->whiteout = false;
    if (size <= 0)
        return size == -EOPNOTSUPP ? 0 : (int)size;
    for (long at = 0; at < size && count < CK_PACK_XATTRS / 4; count++) {
        xattrs->name[0][count] = xattrs->list + at;
        at += (long)ck_string_size(xattrs->list + at) + 1;
    }
    const char **names = ck_sort_names(xattrs->name[0], xattrs->name[1], count);
    int err = 0;
    for (size_t i = 0; err == 0 && i < count; i++)
        err = take_one(xattrs, file, names[i], flags);
    return err;
}

// files_pack_names.c: see files_pack.h. Memory grows with one directory's names and with the number of
// files that have several; beyond CK_PACK_NAMES it is ENOMEM.
#include <linux/errno.h>
#include <linux/mman.h>

#include "execute.h"
#include "files_pack.h"
#include "syscalls.h"

#define FIRST_LINKS 1024u
#define LISTING 32768u

static long map(size_t size) {
    return CK_SYS6(__NR_mmap, NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
}

static bool is_error(long address) {
    return address < 0 && address > -4096;
}

static void *take(struct ck_names *names, size_t size) {
    size = (size + 7) & ~(size_t)7;
    if (size > names->capacity - names->used)
        return NULL;
    void *taken = names->memory + names->used;
    names->used += size;
    return taken;
}

static const char *keep(struct ck_names *names, const char *name) {
    size_t size = ck_string_size(name) + 1;
    char *kept = take(names, size);
    if (kept != NULL)
        __builtin_memcpy(kept, name, size);
    return kept;
}

// ---- a directory --------------------------------------------------------------------------------------------

static bool is_after(const char *a, const char *b) {
    for (; *a != 0 && *a == *b; a++, b++)
        continue;
    return (unsigned char)*a > (unsigned char)*b;
}

static void merge(const char **from, const char **to, size_t begin, size_t middle, size_t end) {
    size_t left = begin, right = middle;
    for (size_t i = begin; i < end; i++) {
        bool take_right = left == middle || (right < end && is_after(from[left], from[right]));
        to[i] = take_right ? from[right++] : from[left++];
    }
}

// Merge sort from the bottom up, between two arrays; the one it ends in.
const char **ck_sort_names(const char **names, const char **other, size_t count) {
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t begin = 0; begin < count; begin += 2 * width) {
            size_t middle = begin + width < count ? begin + width : count;
            size_t end = begin + 2 * width < count ? begin + 2 * width : count;
            merge(names, other, begin, middle, end);
        }
        const char **sorted = other;
        other = names;
        names = sorted;
    }
    return names;
}

static int read_names(struct ck_names *names, int dir, size_t *count) {
    __attribute__((aligned(8))) char listing[LISTING];
    long size;
    while ((size = CK_SYS3(__NR_getdents64, dir, listing, sizeof(listing))) > 0) {
        for (long at = 0; at < size;) {
            const struct ck_entry *entry = (const struct ck_entry *)(listing + at);
            if (!ck_is_dot(entry->name)) {
                if (keep(names, entry->name) == NULL)
                    return -ENOMEM;
                ++*count;
            }
            at += entry->size;
        }
    }
    return (int)size;
}

int ck_list_sorted(struct ck_names *names, int dir, struct ck_listing *listing) {
    *listing = (struct ck_listing){.before = names->used};
    int err = read_names(names, dir, &listing->count);
    if (err < 0)
        return err;
    const char *at = names->memory + listing->before;
    const char **array = take(names, listing->count * sizeof(char *));
    const char **other = take(names, listing->count * sizeof(char *));
    if (array == NULL || other == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < listing->count; i++) {
        array[i] = at;
        at += (ck_string_size(at) + 1 + 7) & ~(size_t)7;
    }
    listing->name = ck_sort_names(array, other, listing->count);
    return 0;
}

// ---- files with several names ----------------------------------------------------------------------------------

static struct ck_link *find_slot(struct ck_link *slots, size_t capacity, uint64_t device, uint64_t inode) {
    size_t at = (size_t)((inode * 0x9e3779b97f4a7c15u ^ device * 0xc2b2ae3d27d4eb4fu) >> 16);
    for (;; at++) {
        struct ck_link *slot = &slots[at & (capacity - 1)];
        if (slot->name == NULL || (slot->inode == inode && slot->device == device))
            return slot;
    }
}

static int grow(struct ck_links *links) {
    size_t capacity = links->capacity == 0 ? FIRST_LINKS : 2 * links->capacity;
    long at = map(capacity * sizeof(struct ck_link));
    if (is_error(at))
        return (int)at;
    struct ck_link *slots = (struct ck_link *)at;
    for (size_t i = 0; i < links->capacity; i++) {
        const struct ck_link *old = &links->slot[i];
        if (old->name != NULL)
            *find_slot(slots, capacity, old->device, old->inode) = *old;
    }
    if (links->slot != NULL)
        CK_SYS2(__NR_munmap, links->slot, links->capacity * sizeof(struct ck_link));
    links->slot = slots;
    links->capacity = capacity;
    return 0;
}

int ck_find_link(struct ck_links *links, uint64_t device, uint64_t inode, const char *name,
                 const char **first) {
    int err = 2 * links->count >= links->capacity ? grow(links) : 0;
    if (err < 0)
        return err;
    struct ck_link *slot = find_slot(links->slot, links->capacity, device, inode);
    *first = slot->name;
    if (slot->name != NULL)
        return 0;
    const char *kept = keep(&links->names, name);
    if (kept == NULL)
        return -ENOMEM;
    *slot = (struct ck_link){device, inode, kept};
    links->count++;
    return 0;
}

void ck_release_links(struct ck_links *links) {
    if (links->slot != NULL)
        CK_SYS2(__NR_munmap, links->slot, links->capacity * sizeof(struct ck_link));
    links->slot = NULL;
}

// removal.h: remove a directory tree whose contents a container chose.
#ifndef CK_REMOVAL_H
#define CK_REMOVAL_H

#include <stdbool.h>
#include <stdint.h>

#define CK_TYPE_DIRECTORY 4 // DT_DIR

struct ck_entry { // struct linux_dirent64, which no header of the kernel declares
    uint64_t inode;
    int64_t offset;
    uint16_t size;
    uint8_t type;
    char name[];
};

bool ck_is_dot(const char *name); // "." or ".."

// 0 or the first error; the rest is removed all the same.
int ck_remove_tree(int parent, const char *name); // with what is in it, if it is a directory; absent is fine
int ck_empty_tree(int parent, const char *name);  // what is in a directory
int ck_empty_directory(int dir);                  // the same of one that is open for reading

#endif

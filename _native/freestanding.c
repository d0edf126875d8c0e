// freestanding.c: the four functions a compiler may call although nobody wrote a call.
//
// The empty asm keeps it from recognising the loops and replacing them by calls to themselves.
#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);
int memcmp(const void *a, const void *b, size_t size);
size_t strlen(const char *text);

#define NOT_AN_IDIOM() __asm__ volatile("" ::: "memory")

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
    for (size_t i = 0; i < size; i++) {
        ((unsigned char *)to)[i] = ((const unsigned char *)from)[i];
        NOT_AN_IDIOM();
    }
    return to;
}

void *memmove(void *to, const void *from, size_t size) {
    if ((unsigned char *)to <= (const unsigned char *)from)
        return memcpy(to, from, size);
    for (size_t i = size; i > 0; i--) {
        ((unsigned char *)to)[i - 1] = ((const unsigned char *)from)[i - 1];
        NOT_AN_IDIOM();
    }
    return to;
}

void *memset(void *to, int byte, size_t size) {
    for (size_t i = 0; i < size; i++) {
        ((unsigned char *)to)[i] = (unsigned char)byte;
        NOT_AN_IDIOM();
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t size) {
    for (size_t i = 0; i < size; i++) {
        int difference = ((const unsigned char *)a)[i] - ((const unsigned char *)b)[i];
        if (difference != 0)
            return difference;
        NOT_AN_IDIOM();
    }
    return 0;
}

size_t strlen(const char *text) {
    size_t length = 0;
    while (text[length] != 0) {
        length++;
        NOT_AN_IDIOM();
    }
    return length;
}

// mutate.c: feed mutations of valid requests to fuzz_decode.c.
//
//   mutate ROUNDS SEED FILE…        prints how many were still accepted
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t next_random(uint64_t *state) { // xorshift64
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static const uint32_t telling[] = {0,   1,   3,    4,          7,          8,          127,
                                   128, 129, 4096, 0x7fffffff, 0x80000000, 0xfffffffc, 0xffffffff};

static void mutate_once(unsigned char *data, size_t *size, uint64_t *state) {
    size_t at = next_random(state) % *size;
    uint32_t word = telling[next_random(state) % (sizeof(telling) / sizeof(telling[0]))];
    switch (next_random(state) % 6) {
    case 0:
        data[at] ^= (unsigned char)(1u << next_random(state) % 8);
        break;
    case 1:
        data[at] = (unsigned char)next_random(state);
        break;
    case 2: // a length, count, size or slot
        if ((at &= ~(size_t)3) + 4 <= *size)
            memcpy(data + at, &word, 4);
        break;
    case 3: // one more or less
        if ((at &= ~(size_t)3) + 4 <= *size) {
            memcpy(&word, data + at, 4);
            word += next_random(state) % 2 ? 4 : (uint32_t)-4;
            memcpy(data + at, &word, 4);
        }
        break;
    case 4: // a piece of itself elsewhere
        memmove(data + at, data + next_random(state) % *size / 2, (*size - at) / 2);
        break;
    default: // cut, and say so in the header
        *size = at < sizeof(struct ck_request) ? *size : at;
        word = (uint32_t)*size;
        memcpy(data + offsetof(struct ck_request, size), &word, 4);
    }
}

static unsigned char *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    unsigned char *data = malloc(1 << 20);
    if (file == NULL || data == NULL)
        exit(2);
    *size = fread(data, 1, 1 << 20, file);
    fclose(file);
    return data;
}

int main(int argc, char **argv) {
    if (argc < 4)
        return 2;
    unsigned long rounds = strtoul(argv[1], NULL, 10), accepted = 0;
    uint64_t state = strtoull(argv[2], NULL, 10) * 2 + 1;
    for (int i = 3; i < argc; i++) {
        size_t original_size;
        unsigned char *original = read_file(argv[i], &original_size);
        unsigned char *work = aligned_alloc(8, 1 << 20);
        for (unsigned long round = 0; round < rounds; round++) {
            struct ck_request_view view;
            size_t size = original_size;
            memcpy(work, original, size);
            for (uint64_t n = round == 0 ? 0 : 1 + next_random(&state) % 3; n > 0; n--)
                mutate_once(work, &size, &state);
            LLVMFuzzerTestOneInput(work, size);
            accepted += ck_open_request(work, size, &view) == 0;
        }
        free(original);
        free(work);
    }
    printf("%lu\n", accepted);
    return 0;
}

// mutate_tar.c: feed mutations of valid archives to fuzz_tar.c; most get a right checksum again.
//
//   mutate_tar ROUNDS SEED FILE…
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 512
#define LARGEST ((size_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t next_random(uint64_t *state) { // xorshift64
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void seal(unsigned char *block) {
    unsigned sum = 0;
    memset(block + 148, ' ', 8);
    for (size_t i = 0; i < BLOCK; i++)
        sum += block[i];
    snprintf((char *)block + 148, 8, "%06o", sum);
}

static void mutate_once(unsigned char *data, size_t size, uint64_t *state) {
    static const unsigned char telling[] = "01234567xgLKSDMV/. \n=-\200\377\0";
    static const uint16_t fields[] = {0,   100, 108, 116, 124, 135, 136, 156,
                                      157, 257, 263, 329, 345, 475, 508};
    size_t block = next_random(state) % (size / BLOCK) * BLOCK;
    size_t at = next_random(state) % 4 ? next_random(state) % BLOCK
                                       : fields[next_random(state) % (sizeof(fields) / sizeof(fields[0]))];
    switch (next_random(state) % 5) {
    case 0:
        data[block + at] ^= (unsigned char)(1u << next_random(state) % 8);
        break;
    case 1:
        data[block + at] = (unsigned char)next_random(state);
        break;
    case 2: // a block of itself elsewhere
        memmove(data + block, data + next_random(state) % (size / BLOCK) * BLOCK, BLOCK);
        break;
    case 3: // a stretch
        memset(data + block + at, telling[next_random(state) % sizeof(telling)],
               next_random(state) % (BLOCK - at + 1));
        break;
    default:
        data[block + at] = telling[next_random(state) % sizeof(telling)];
    }
    if (next_random(state) % 8 != 0)
        seal(data + block);
}

static unsigned char *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    unsigned char *data = malloc(LARGEST);
    if (file == NULL || data == NULL)
        exit(2);
    *size = fread(data, 1, LARGEST, file);
    fclose(file);
    return data;
}

int main(int argc, char **argv) {
    if (argc < 4)
        return 2;
    unsigned long rounds = strtoul(argv[1], NULL, 10);
    uint64_t state = strtoull(argv[2], NULL, 10) * 2 + 1;
    unsigned char *work = malloc(LARGEST);
    for (int i = 3; i < argc && work != NULL; i++) {
        size_t size;
        unsigned char *original = read_file(argv[i], &size);
        for (unsigned long round = 0; round < rounds && size >= BLOCK; round++) {
            memcpy(work, original, size);
            for (uint64_t n = round == 0 ? 0 : 1 + next_random(&state) % 3; n > 0; n--)
                mutate_once(work, size, &state);
            size_t cut = next_random(&state) % 8 == 0 ? next_random(&state) % size : size;
            LLVMFuzzerTestOneInput(work, cut);
        }
        free(original);
    }
    free(work);
    return 0;
}

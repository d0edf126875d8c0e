// random_messages.c: feed random scripts to fuzz_messages.c.
//
//   random_messages ROUNDS SEED
#include <stdint.h>
#include <stdlib.h>

#define LONGEST 400

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t next_random(uint64_t *state) { // xorshift64
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    unsigned long rounds = strtoul(argv[1], NULL, 10);
    uint64_t state = strtoull(argv[2], NULL, 10) * 2 + 1;
    uint8_t script[LONGEST];
    for (unsigned long round = 0; round < rounds; round++) {
        size_t size = next_random(&state) % LONGEST;
        for (size_t i = 0; i < size; i++) // small numbers mean more
            script[i] = (uint8_t)(next_random(&state) >> (next_random(&state) % 3 == 0 ? 0 : 60));
        LLVMFuzzerTestOneInput(script, size);
    }
    return 0;
}

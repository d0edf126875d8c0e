// fuzz_main.h: a fuzz target as a program: hands it the files that are named on the command line.
// Included at the end of a target, unless libFuzzer brings its own main.
#ifndef CK_FUZZ_MAIN_H
#define CK_FUZZ_MAIN_H

#include <stdio.h>
#include <stdlib.h>

#define CK_LARGEST_INPUT ((size_t)1 << 22)

static int run_file(const char *path) {
    FILE *file = fopen(path, "rb");
    unsigned char *data = malloc(CK_LARGEST_INPUT);
    if (file == NULL || data == NULL)
        return 1;
    size_t size = fread(data, 1, CK_LARGEST_INPUT, file);
    fclose(file);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 0;
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (run_file(argv[i]) != 0)
            return 1;
    }
    return 0;
}

#endif

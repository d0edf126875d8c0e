// fuzz_main.h: a fuzz target as a program: hands it the files that are named on the command line.
// Included at the end of a target, unless libFuzzer brings its own main.
#ifndef CK_FUZZ_MAIN_H
#define CK_FUZZ_MAIN_H

#include <stdio.h>

#define CK_LARGEST_INPUT ((size_t)1 << 22)

static int run_file(const char *path) {
    static unsigned char data[CK_LARGEST_INPUT];
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return 1;
    size_t size = fread(data, 1, sizeof(data), file);
    fclose(file);
    LLVMFuzzerTestOneInput(data, size);
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

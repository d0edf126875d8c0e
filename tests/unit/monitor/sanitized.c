// sanitized.c: the monitor as a program with a C library, for the sanitizers: their entry and what they are told.
// REPORT is where they write; the monitor's own stderr is /dev/null, and its environment is empty.
void ck_main(void);
const char *__asan_default_options(void);
const char *__ubsan_default_options(void);

const char *__asan_default_options(void) {
    return "detect_leaks=0:exitcode=99:log_path=" REPORT;
}

const char *__ubsan_default_options(void) {
    return "print_stacktrace=1:log_path=" REPORT;
}

int main(void) {
    ck_main();
}

// process.c: signals, children, resources.
#define _GNU_SOURCE
#include "payload.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void say(const char *line) {
    puts(line);
    fflush(stdout);
}

int do_sleep(int argc, char **argv) {
    (void)argc;
    double seconds = atof(argv[1]);
    struct timespec left = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&left, &left) && errno == EINTR)
        ;
    return 0;
}

static int signal_number(const char *name) {
    if (strncmp(name, "SIG", 3) == 0)
        name += 3;
    for (int i = 1; i < 32; i++)
        if (strcmp(name, sigabbrev_np(i)) == 0)
            return i;
    return atoi(name);
}

int do_trap(int argc, char **argv) {
    sigset_t set;
    sigemptyset(&set);
    for (int i = 1; i < argc; i++)
        sigaddset(&set, signal_number(argv[i]));
    sigprocmask(SIG_BLOCK, &set, NULL);
    // A PID 1 ignores what it has not asked for: make SIGTERM end this one as it ends others.
    if (!sigismember(&set, SIGTERM))
        signal(SIGTERM, (void (*)(int))_exit);
    say("ready");
    for (;;) {
        siginfo_t info;
        if (sigwaitinfo(&set, &info) < 0)
            continue;
        printf("SIG%s\n", sigabbrev_np(info.si_signo));
        fflush(stdout);
    }
}

int do_ignore_term(int argc, char **argv) {
    (void)argc, (void)argv;
    signal(SIGTERM, SIG_IGN);
    say("ready");
    for (;;)
        pause();
}

int do_fork_tree(int argc, char **argv) {
    (void)argc;
    for (int i = atoi(argv[1]); i > 0; i--) {
        pid_t child = fork();
        if (child < 0)
            return fail("fork");
        if (child == 0) {
            setsid();
            if (fork() != 0)
                _exit(0);
            for (;;)
                pause();
        }
        waitpid(child, NULL, 0);
    }
    say("ready");
    for (;;)
        pause();
}

// Count processes of a state in this PID namespace.
static int count_zombies(void) {
    DIR *proc = opendir("/proc");
    int zombies = 0;

    if (!proc)
        return -1;
    for (struct dirent *entry; (entry = readdir(proc));) {
        char path[300], state = 0;
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        FILE *stat = atoi(entry->d_name) > 0 ? fopen(path, "re") : NULL;
        if (!stat)
            continue;
        if (fscanf(stat, "%*d (%*[^)]) %c", &state) == 1 && state == 'Z')
            zombies++;
        fclose(stat);
    }
    closedir(proc);
    return zombies;
}

int do_zombies(int argc, char **argv) {
    (void)argc;
    for (int i = atoi(argv[1]); i > 0; i--) {
        pid_t child = fork();
        if (child < 0)
            return fail("fork");
        if (child == 0)
            _exit(fork() < 0);
        waitpid(child, NULL, 0);
    }
    struct timespec pause = {0, 10000000};
    int left = count_zombies();
    for (int tries = 0; left > 0 && tries < 200; tries++, left = count_zombies())
        nanosleep(&pause, NULL);
    return printf("%d\n", left) < 0;
}

int do_spin(int argc, char **argv) {
    clock_t end = argc > 1 ? (clock_t)(atof(argv[1]) * CLOCKS_PER_SEC) : 0;
    for (volatile unsigned long n = 0;; n++)
        if (end && n % 100000 == 0 && clock() >= end)
            return 0;
}

int do_memory(int argc, char **argv) {
    (void)argc;
    size_t size = strtoul(argv[1], NULL, 10) << 20;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        return fail("mmap");
    for (size_t i = 0; i < size; i += 4096)
        memory[i] = 1;
    say("ready");
    for (;;)
        pause();
}

int do_forks(int argc, char **argv) {
    (void)argc;
    static pid_t children[65536];
    int wanted = atoi(argv[1]), made = 0;

    for (; made < wanted && made < 65536; made++) {
        children[made] = fork();
        if (children[made] < 0)
            break;
        if (children[made] == 0)
            for (;;)
                pause();
    }
    printf("%d\n", made);
    for (int i = 0; i < made; i++)
        kill(children[i], SIGKILL);
    while (wait(NULL) > 0)
        ;
    return 0;
}

int do_syscall(int argc, char **argv) {
    long a[7] = {0};
    for (int i = 1; i < argc && i <= 7; i++)
        a[i - 1] = strtol(argv[i], NULL, 0);
    errno = 0;
    long result = syscall(a[0], a[1], a[2], a[3], a[4], a[5], a[6]);
    return printf("%ld %s\n", result, result < 0 ? strerrorname_np(errno) : "ok") < 0;
}

// As a 32-bit program makes it: numbers, and the answer, are those of i386.
int do_syscall32(int argc, char **argv) {
    long a[4] = {0}, result = -ENOSYS;
    for (int i = 1; i < argc && i <= 4; i++)
        a[i - 1] = strtol(argv[i], NULL, 0);
#ifdef __x86_64__
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(a[0]), "b"(a[1]), "c"(a[2]), "d"(a[3])
                     : "memory", "r8", "r9", "r10", "r11");
#endif
    return printf("%ld %s\n", result, result < 0 ? strerrorname_np((int)-result) : "ok") < 0;
}

int do_exec(int argc, char **argv) {
    (void)argc;
    execvp(argv[1], argv + 1);
    return fail(argv[1]);
}

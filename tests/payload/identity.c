// identity.c: who and where the process is.
#define _GNU_SOURCE
#include "payload.h"

#include <dirent.h>
#include <grp.h>
#include <linux/keyctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

int do_id(int argc, char **argv) {
    (void)argc, (void)argv;
    gid_t groups[256];
    int n = getgroups(256, groups);

    if (n < 0)
        return fail("getgroups");
    printf("uid=%u euid=%u gid=%u egid=%u groups=", getuid(), geteuid(), getgid(), getegid());
    for (int i = 0; i < n; i++)
        printf("%s%u", i ? "," : "", groups[i]);
    putchar('\n');
    return 0;
}

int do_env(int argc, char **argv) {
    if (argc > 1) {
        const char *value = getenv(argv[1]);
        return value ? puts(value) == EOF : 1;
    }
    for (char **entry = environ; *entry; entry++)
        puts(*entry);
    return 0;
}

int do_pwd(int argc, char **argv) {
    (void)argc, (void)argv;
    char path[4096];
    return getcwd(path, sizeof path) ? puts(path) == EOF : fail("getcwd");
}

int do_hostname(int argc, char **argv) {
    (void)argc, (void)argv;
    char host[256] = "", domain[256] = "";
    if (gethostname(host, sizeof host) || getdomainname(domain, sizeof domain))
        return fail("hostname");
    return printf("%s %s\n", host, domain) < 0;
}

// Print the lines of /proc/self/status whose field name is one of the given.
static int print_status(const char *const *fields, int count) {
    char line[4096];
    int found = 0;
    FILE *status = fopen("/proc/self/status", "re");

    if (!status)
        return fail("/proc/self/status");
    while (fgets(line, sizeof line, status))
        for (int i = 0; i < count; i++) {
            size_t n = strlen(fields[i]);
            if (strncmp(line, fields[i], n) == 0 && line[n] == ':')
                found++, fputs(line, stdout);
        }
    fclose(status);
    return found == count ? 0 : 1;
}

int do_status(int argc, char **argv) {
    return print_status((const char *const *)argv + 1, argc - 1);
}

int do_caps(int argc, char **argv) {
    (void)argc, (void)argv;
    static const char *const sets[] = {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"};
    return print_status(sets, 5);
}

int do_seccomp(int argc, char **argv) {
    (void)argc, (void)argv;
    static const char *const fields[] = {"Seccomp", "Seccomp_filters"};
    return print_status(fields, 2);
}

int do_nnp(int argc, char **argv) {
    (void)argc, (void)argv;
    return printf("%d\n", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)) < 0;
}

int do_umask(int argc, char **argv) {
    (void)argc, (void)argv;
    return printf("%04o\n", umask(0)) < 0;
}

int do_rlimit(int argc, char **argv) {
    (void)argc;
    struct rlimit limit;
    if (getrlimit((__rlimit_resource_t)atoi(argv[1]), &limit))
        return fail("getrlimit");
    return printf("%llu %llu\n", (unsigned long long)limit.rlim_cur, (unsigned long long)limit.rlim_max) < 0;
}

int do_fds(int argc, char **argv) {
    (void)argc, (void)argv;
    DIR *directory = opendir("/proc/self/fd");
    char target[4096];

    if (!directory)
        return fail("/proc/self/fd");
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == dirfd(directory))
            continue;
        ssize_t n = readlinkat(dirfd(directory), entry->d_name, target, sizeof target - 1);
        printf("%s %.*s\n", entry->d_name, n < 0 ? 0 : (int)n, target);
    }
    closedir(directory);
    return 0;
}

int do_mounts(int argc, char **argv) {
    (void)argc, (void)argv;
    char *files[] = {argv[0], "/proc/self/mountinfo", NULL};
    return do_cat(2, files);
}

int do_sysctl(int argc, char **argv) {
    char path[512] = "/proc/sys/";
    size_t at = strlen(path);

    for (const char *c = argv[1]; *c && at < sizeof path - 1; c++)
        path[at++] = *c == '.' ? '/' : *c;
    char *arguments[] = {argv[0], path, argc > 2 ? argv[2] : NULL, NULL};
    return argc > 2 ? do_write(3, arguments) : do_cat(2, arguments);
}

int do_keyctl(int argc, char **argv) {
    (void)argc, (void)argv;
    long serial = syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0);
    return serial < 0 ? fail("keyctl") : printf("%ld\n", serial) < 0;
}

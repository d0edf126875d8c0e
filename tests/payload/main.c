// main.c: the table of commands.
#define _GNU_SOURCE
#include "payload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int do_true(int argc, char **argv) {
    (void)argc, (void)argv;
    return 0;
}

static int do_false(int argc, char **argv) {
    (void)argc, (void)argv;
    return 1;
}

static int do_exit(int argc, char **argv) {
    return argc > 1 ? atoi(argv[1]) : 0;
}

static const struct {
    const char *name;
    command_function *function;
    int needs; // arguments
    const char *usage;
} commands[] = {
    {"true", do_true, 0, ""},
    {"false", do_false, 0, ""},
    {"exit", do_exit, 1, "STATUS"},
    {"echo", do_echo, 0, "[WORD…]"},
    {"cat", do_cat, 0, "[FILE…]              stdin without files"},
    {"stderr", do_stderr, 0, "[WORD…]"},
    {"flood", do_flood, 1, "BYTES [--lines LENGTH]"},
    {"binary", do_binary, 0, "                 all 256 byte values"},
    {"interleave", do_interleave, 1, "N      lines to stdout and stderr in turns"},
    {"id", do_id, 0, "                     uid=… gid=… groups=…"},
    {"env", do_env, 0, "[NAME]"},
    {"pwd", do_pwd, 0, ""},
    {"hostname", do_hostname, 0, "               host name, domain name"},
    {"status", do_status, 1, "FIELD            of /proc/self/status"},
    {"caps", do_caps, 0, "                   the five sets"},
    {"nnp", do_nnp, 0, ""},
    {"seccomp", do_seccomp, 0, "                mode, number of filters"},
    {"umask", do_umask, 0, ""},
    {"rlimit", do_rlimit, 1, "NUMBER           soft, hard"},
    {"fds", do_fds, 0, "                    open descriptors and their targets"},
    {"mounts", do_mounts, 0, ""},
    {"sysctl", do_sysctl, 1, "NAME [VALUE]"},
    {"keyctl", do_keyctl, 0, "                 serial of the session keyring"},
    {"write", do_write, 2, "FILE TEXT"},
    {"read", do_read, 1, "FILE"},
    {"stat", do_stat, 1, "PATH…              type mode uid gid size major:minor path"},
    {"open", do_open, 2, "r|w|a|c FILE         prints ok or the errno's name"},
    {"mkdir", do_mkdir, 1, "PATH"},
    {"unlink", do_unlink, 1, "PATH"},
    {"chown", do_chown, 3, "UID GID PATH"},
    {"mknod", do_mknod, 3, "PATH MAJOR MINOR      a character device"},
    {"symlink", do_symlink, 2, "TARGET PATH"},
    {"ls", do_ls, 1, "DIRECTORY             names, sorted"},
    {"sleep", do_sleep, 1, "SECONDS"},
    {"trap", do_trap, 1, "SIGNAL…             prints each on receipt, ends at SIGTERM unless trapped"},
    {"ignore-term", do_ignore_term, 0, "            prints ready, ignores SIGTERM"},
    {"fork-tree", do_fork_tree, 1, "N            N orphans in sessions of their own that sleep"},
    {"zombies", do_zombies, 1,
     "N              N orphans that exit at once; prints how many of them are left"},
    {"spin", do_spin, 0, "[SECONDS]             uses a CPU"},
    {"memory", do_memory, 1, "MIB              touches so much, then prints ready and sleeps"},
    {"forks", do_forks, 1, "N                children that sleep; prints how many could be made"},
    {"syscall", do_syscall, 1, "NUMBER [ARGUMENT…] prints result and errno's name"},
    {"syscall32", do_syscall32, 1, "NUMBER [ARGUMENT…] the same by int 0x80, of i386"},
    {"exec", do_exec, 1, "PROGRAM [ARGUMENT…]"},
    {"tty", do_tty, 0, "                    tty name, rows, columns, is it the controlling one"},
    {"winch", do_winch, 1, "N                prints the window's size at each of N changes"},
    {"connect-unix", do_connect_unix, 1, "PATH       @NAME for an abstract one"},
    {"listen", do_listen, 1, "PORT             answers one TCP connection with hello"},
    {"connect", do_connect, 2, "ADDRESS PORT    prints what the server says"},
    {"fork-bomb", do_fork_bomb, 0, "              all processes there can be; prints ready"},
    {"fill", do_fill, 2, "FILE MIB [--sync]     prints the MiB written; sleeps, or with --sync ends"},
    {"fill-sockets", do_fill_sockets, 1, "N           N full connections to itself; prints ready"},
    {"swap", do_swap, 2, "PATH PATH          exchanges two names for ever; prints ready"},
    {"socket", do_socket, 1, "FAMILY          prints ok or the errno's name"},
    {"tiocsti", do_tiocsti, 2, "PATH|- CHARACTER types into a terminal; prints ok or the errno's name"},
    {"int80", do_int80, 1, "NUMBER           a 32-bit system call; prints ok or the errno's name"},
    {"peep", do_peep, 0, "                   prints what it learns of later processes until SIGTERM"},
    {"steal-programs", do_steal_programs, 0, "         tries to change the programs of others until SIGTERM"},
    {"portrait", do_portrait, 0, "[PATH…]           what can be compared: name=value lines"},
};

int fail(const char *what) {
    const char *name = strerrorname_np(errno);
    fprintf(stderr, "%s: %s\n", what, name ? name : "unknown error");
    return 1;
}

static int usage(void) {
    fputs("usage: payload COMMAND [ARGUMENT…]\n", stderr);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(stderr, "  %s %s\n", commands[i].name, commands[i].usage);
    return 2;
}

int main(int argc, char **argv) {
    const char *slash = argc ? strrchr(argv[0], '/') : NULL;
    const char *name = slash ? slash + 1 : argc ? argv[0] : "";

    if (strcmp(name, "payload") == 0)
        name = argc > 1 ? argv[1] : "", argc--, argv++;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(name, commands[i].name) != 0)
            continue;
        if (argc - 1 < commands[i].needs)
            return usage();
        int status = commands[i].function(argc, argv);
        return fflush(stdout) == 0 ? status : fail("stdout");
    }
    return usage();
}

// payload.c: what the containers of these tests run: one static program, a word for each behaviour.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int exit_code;

static void say(const char *text) {
    if (write(1, text, strlen(text)) < 0)
        exit(99);
}

static void leave(int signal) {
    (void)signal;
    _exit(exit_code);
}

static int do_exit(char **arg) {
    return atoi(arg[0]);
}

static int do_say(char **arg) { // stdout text, stderr text
    say(arg[0]);
    return write(2, arg[1], strlen(arg[1])) < 0;
}

static int do_cat(char **arg) {
    char buffer[4096];
    (void)arg;
    for (ssize_t got; (got = read(0, buffer, sizeof(buffer))) > 0;)
        if (write(1, buffer, (size_t)got) != got)
            return 1;
    say("<end>\n");
    return 0;
}

static int do_sleep(char **arg) {
    (void)arg;
    say("ready\n");
    while (pause() < 0 && errno == EINTR)
        ;
    return 1;
}

static int do_trap(char **arg) { // signal, exit code
    exit_code = atoi(arg[1]);
    signal(atoi(arg[0]), leave);
    return do_sleep(arg);
}

static int do_crash(char **arg) {
    (void)arg;
    volatile int *nowhere = NULL;
    return *nowhere;
}

static int do_flood(char **arg) { // bytes in all, bytes of a line
    size_t total = strtoull(arg[0], NULL, 10), line = strtoull(arg[1], NULL, 10), size = 1 << 20;
    char *block = malloc(size);
    memset(block, 'x', size);
    for (size_t at = line; at <= size; at += line)
        block[at - 1] = '\n';
    size -= size % line;
    for (size_t done = 0; done < total;) {
        ssize_t wrote = write(1, block + done % size,
                              size - done % size < total - done ? size - done % size : total - done);
        if (wrote < 0)
            return 1;
        done += (size_t)wrote;
    }
    return 0;
}

static int do_bytes(char **arg) { // every byte value, newline last
    (void)arg;
    for (int byte = 0; byte < 256; byte++) {
        unsigned char one = (unsigned char)byte;
        if (byte != '\n' && write(1, &one, 1) != 1)
            return 1;
    }
    say("\n");
    return 0;
}

static int do_count(char **arg) { // file, code to leave with: append a byte to the file first
    int fd = open(arg[0], O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (fd < 0 || write(fd, ".", 1) != 1)
        return 98;
    return atoi(arg[1]);
}

static int do_exists(char **arg) { // file: 0 when it is there; says so
    struct stat about;
    say(stat(arg[0], &about) ? "absent\n" : "present\n");
    return stat(arg[0], &about) != 0;
}

static int do_tree(char **arg) { // children of sessions of their own, orphaned; then sleep
    for (int i = 0; i < atoi(arg[0]); i++) {
        pid_t child = fork();
        if (child == 0) {
            setsid();
            if (fork() == 0)
                for (;;)
                    pause();
            _exit(0);
        }
        waitpid(child, NULL, 0);
    }
    return do_sleep(arg);
}

static void show_size(int signal) {
    struct winsize size = {0};
    char text[64];
    (void)signal;
    ioctl(0, TIOCGWINSZ, &size);
    snprintf(text, sizeof(text), "size %d %d\n", size.ws_row, size.ws_col);
    say(text);
}

static int do_terminal(char **arg) { // sizes as they change, until a line comes
    char line[16];
    struct sigaction action = {.sa_handler = show_size, .sa_flags = SA_RESTART};
    sigaction(SIGWINCH, &action, NULL);
    say(isatty(0) && isatty(1) && isatty(2) ? "tty\n" : "no tty\n");
    show_size(0);
    (void)arg;
    return read(0, line, sizeof(line)) < 0;
}

static int do_files(char **arg) { // directory, depth, files: something to remove
    if (mkdir(arg[0], 0700) || chdir(arg[0]))
        return 1;
    for (int i = 0; i < atoi(arg[1]); i++)
        if (mkdir("d", 0700) || chdir("d"))
            return 2;
    for (int i = 0; i < atoi(arg[2]); i++) {
        char name[32];
        snprintf(name, sizeof(name), "f%d", i);
        int fd = open(name, O_WRONLY | O_CREAT, 0);
        if (fd < 0)
            return 3;
        close(fd);
    }
    return chmod(".", 0) ? 4 : 0;
}

static const struct {
    const char *word;
    int (*act)(char **arg);
} words[] = {
    {"exit", do_exit},         {"say", do_say},       {"cat", do_cat},     {"sleep", do_sleep},
    {"trap", do_trap},         {"crash", do_crash},   {"flood", do_flood}, {"bytes", do_bytes},
    {"count", do_count},       {"exists", do_exists}, {"tree", do_tree},   {"files", do_files},
    {"terminal", do_terminal},
};

int main(int argc, char **argv) {
    static char *none[4] = {"", "", "", ""};
    for (size_t i = 0; argc > 1 && i < sizeof(words) / sizeof(words[0]); i++)
        if (strcmp(words[i].word, argv[1]) == 0)
            return words[i].act(argc > 2 ? argv + 2 : none);
    return 97;
}

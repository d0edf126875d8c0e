// payload.h: the program that containers run in the tests. Static, no shell needed.
//
//   payload COMMAND [ARGUMENT…]      or by a symlink named like the command
//
// Every command is a function of its own arguments: argv[0] is the command's name.
#ifndef PAYLOAD_H
#define PAYLOAD_H

typedef int command_function(int argc, char **argv);

// Print "WHAT: ERROR" to stderr and return 1, so that a command can end with it.
int fail(const char *what);

// streams.c: what goes in and out
command_function do_echo, do_cat, do_stderr, do_flood, do_binary, do_interleave;
// identity.c: who and where the process is
command_function do_id, do_env, do_pwd, do_hostname, do_status, do_caps, do_nnp, do_seccomp, do_umask,
    do_rlimit;
command_function do_fds, do_mounts, do_sysctl, do_keyctl;
// files.c: the file system as seen inside
command_function do_write, do_read, do_stat, do_open, do_mkdir, do_unlink, do_chown, do_mknod, do_symlink,
    do_ls;
// process.c: signals, children, resources
command_function do_sleep, do_trap, do_ignore_term, do_fork_tree, do_zombies, do_spin, do_memory, do_forks;
command_function do_syscall, do_syscall32, do_exec;
// terminal.c: terminals and sockets
command_function do_tty, do_winch, do_connect_unix, do_listen, do_connect;
// hog.c: those who take all they can get
command_function do_fork_bomb, do_fill, do_fill_sockets;
// intruder.c: what somebody would try who wants to get out
command_function do_swap, do_socket, do_tiocsti, do_int80, do_peep, do_steal_programs;
// portrait.c: all that can be compared with another container
command_function do_portrait;

#endif

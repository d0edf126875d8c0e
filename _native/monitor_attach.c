// monitor_attach.c: clients that read the container's output live.
//
// A client passes the write ends of pipes, which become non-blocking. One that falls behind
// holds the container back until it has made no progress for CK_SLOW_CLIENT_MS; then it is
// dropped. With CK_ATTACH_IO_SLOW_OK it loses output instead.
#include "monitor.h"

void ck_attach_end(struct ck_client *client) {
    if (!client->attached)
        return;
    ck_close_fd(&client->out[0]);
    ck_close_fd(&client->out[1]);
    client->attached = false;
}

bool ck_attach_is_behind(const struct ck_monitor *m, const struct ck_client *client) {
    return client->attached && client->out[m->stdio.held_stream] >= 0 && client->written < m->stdio.held_size;
}

// A socket may lead back to the client's own connection, whose end would then never come; a file may be on
// a disk that makes us wait.
static bool are_pipes(const int *fds) {
    struct stat about;
    for (int i = 0; i < 2; i++)
        if (fds[i] >= 0 && (CK_SYS2(__NR_fstat, fds[i], &about) || !S_ISFIFO(about.st_mode)))
            return false;
    return true;
}

// A pipe's POLLERR is the only sign of a reader that went away in silence.
int ck_attach(struct ck_monitor *m, uint32_t index, const struct ck_message *message, int *fds) {
    struct ck_client *client = &m->clients[index];
    bool copied = (m->set.flags & CK_SET_TERMINAL) || !(m->set.flags & CK_SET_DIRECT);
    if (!copied)
        return -EOPNOTSUPP;
    if (client->attached)
        return -EBUSY;
    if (!are_pipes(fds))
        return -EINVAL;
    for (int i = 0; i < 2; i++) {
        client->out[i] = fds[i];
        fds[i] = -1;
        if (client->out[i] >= 0)
            ck_sys_fcntl(client->out[i], F_SETFL, O_WRONLY | O_NONBLOCK);
    }
    client->attached = true;
    client->slow_ok = message->flags & CK_ATTACH_IO_SLOW_OK;
    client->waits = true;
    client->written = CK_CHUNK; // it starts behind the chunk in hand
    client->stuck_until = CK_NEVER;
    struct ck_message ok = {.type = CK_MSG_OK};
    ck_send(m, (int)index, &ok, message->flags & CK_ATTACH_IO_STDIN ? ck_stdio_input(m) : -1);
    return 1;
}

static void push(struct ck_monitor *m, uint32_t index) {
    struct ck_client *client = &m->clients[index];
    while (ck_attach_is_behind(m, client)) {
        long wrote = ck_write(client->out[m->stdio.held_stream], m->chunk + client->written,
                              m->stdio.held_size - client->written);
        if (wrote > 0) {
            client->written += (uint32_t)wrote;
            client->stuck_until = CK_NEVER;
        } else if (wrote == -EAGAIN && client->slow_ok) {
            client->written = m->stdio.held_size;
        } else if (wrote == -EAGAIN) {
            if (client->stuck_until == CK_NEVER)
                client->stuck_until = ck_later(m, CK_SLOW_CLIENT_MS);
            return;
        } else {
            ck_drop_client(m, index);
        }
    }
}

static void let_go(struct ck_monitor *m) {
    for (uint32_t i = 0; i < CK_CLIENTS; i++)
        if (ck_attach_is_behind(m, &m->clients[i]))
            return;
    m->stdio.held_size = 0;
}

void ck_attach_give(struct ck_monitor *m) {
    for (uint32_t i = 0; i < CK_CLIENTS; i++) {
        m->clients[i].written = 0;
        push(m, i);
    }
    let_go(m);
}

static void writable(struct ck_monitor *m, uint32_t index) {
    push(m, index);
}

void ck_attach_watch(struct ck_monitor *m) {
    for (uint32_t i = 0; m->stdio.held_size && i < CK_CLIENTS; i++) {
        if (!ck_attach_is_behind(m, &m->clients[i]))
            continue;
        ck_watch(m, m->clients[i].out[m->stdio.held_stream], POLLOUT, writable, i);
        ck_wake_at(m, m->clients[i].stuck_until);
    }
}

void ck_attach_tick(struct ck_monitor *m) {
    if (!m->stdio.held_size)
        return;
    for (uint32_t i = 0; i < CK_CLIENTS; i++)
        if (m->clients[i].attached && m->clients[i].stuck_until <= m->now)
            ck_drop_client(m, i);
    let_go(m);
}

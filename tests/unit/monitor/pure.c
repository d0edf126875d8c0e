// pure.c: the monitor's pure functions as a hosted program, for the sanitizers. Asserts, then says "ok".
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ckit.h"
#include "monitor_format.h"

#define SECOND 1000000000ull

static void check_stamp(uint64_t seconds, uint32_t nanoseconds) {
    char got[CK_STAMP], expected[64];
    time_t when = (time_t)seconds;
    struct tm parts;
    gmtime_r(&when, &parts);
    size_t size = strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(expected + size, sizeof(expected) - size, ".%09uZ", nanoseconds);
    ck_format_stamp(got, seconds * SECOND + nanoseconds);
    assert(memcmp(got, expected, CK_STAMP) == 0);
}

static void test_stamps(void) {
    for (uint64_t day = 0; day < 150000; day++) // to the year 2380, leap years of all kinds
        check_stamp(day * 86400 + day % 86400, (uint32_t)(day * 7919 % SECOND));
}

static void test_numbers(void) {
    static const int64_t numbers[] = {0, 1, -1, 9, 10, 1234567890, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        char got[32], expected[32];
        struct ck_writer to = {got, 0, sizeof(got)};
        ck_put_signed(&to, numbers[i]);
        ck_put_end(&to);
        snprintf(expected, sizeof(expected), "%lld", (long long)numbers[i]);
        assert(strcmp(got, expected) == 0);
    }
    char small[4];
    struct ck_writer to = {small, 0, sizeof(small)};
    ck_put_number(&to, UINT64_MAX);
    ck_put_end(&to);
    assert(to.size == 4 && strcmp(small, "184") == 0);
}

static void test_stat(void) {
    static const char line[] =
        "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654321 22 33\n";
    uint64_t flags = 0, start = 0;
    assert(ck_parse_stat(line, sizeof(line) - 1, &flags, &start) && flags == 4194560 && start == 987654321);
    for (size_t cut = 0; cut < sizeof(line) - 1; cut++) {
        char *part = malloc(cut ? cut : 1); // exactly as long, so that an overrun is seen
        memcpy(part, line, cut);
        start = 0;
        bool whole = ck_parse_stat(part, cut, &flags, &start);
        assert(whole == (cut > strlen(line) - strlen(" 22 33\n")) && (!whole || start == 987654321));
        free(part);
    }
}

static void test_counters(void) {
    static const char events[] = "low 0\noom 3\noom_kill 27\noom_group_kill 1\n";
    size_t size = sizeof(events) - 1;
    assert(ck_parse_counter(events, size, "oom") == 3);
    assert(ck_parse_counter(events, size, "oom_kill") == 27);
    assert(ck_parse_counter(events, size, "oom_group_kill") == 1);
    assert(ck_parse_counter(events, size, "kill") == 0);
    assert(ck_parse_counter(events, 0, "low") == 0);
    for (size_t cut = 0; cut <= size; cut++) {
        char *part = malloc(cut ? cut : 1);
        memcpy(part, events, cut);
        ck_parse_counter(part, cut, "oom_group_kill");
        free(part);
    }
}

// Join the records again: text of P goes on, F ends a line. Checks each record's form.
static size_t join(const char *records, size_t size, char *out) {
    size_t at = 0, joined = 0;
    while (at < size) {
        const char *end = memchr(records + at, '\n', size - at);
        assert(end && (size_t)(end - records) - at >= CK_LOG_PREFIX);
        assert(memcmp(records + at + CK_STAMP, " stderr ", 8) == 0);
        char tag = records[at + CK_STAMP + 8];
        size_t text = (size_t)(end - records) - at - CK_LOG_PREFIX;
        assert((tag == 'F' || tag == 'P') && text <= CK_LOG_PIECE);
        memcpy(out + joined, records + at + CK_LOG_PREFIX, text);
        joined += text;
        if (tag == 'F')
            out[joined++] = '\n';
        at = (size_t)(end - records) + 1;
    }
    return joined;
}

static void check_log(const char *data, size_t size, size_t capacity) {
    char stamp[CK_STAMP], *out = malloc(capacity), *all = malloc(size * 45 + 100), *joined = malloc(size + 1);
    size_t total = 0;
    ck_format_stamp(stamp, 0);
    for (size_t done = 0, used; done < size; done += used) {
        size_t formatted = ck_log_format(out, capacity, stamp, "stderr", data + done, size - done, &used);
        assert(formatted <= capacity && used > 0);
        memcpy(all + total, out, formatted);
        total += formatted;
    }
    assert(join(all, total, joined) == size && memcmp(joined, data, size) == 0);
    free(out);
    free(all);
    free(joined);
}

static void test_log(void) {
    static const unsigned newline_every[] = {
        1, 2, 3, 50, 1000, CK_LOG_PIECE - 1, CK_LOG_PIECE, CK_LOG_PIECE + 1, 1u << 30};
    srand(1);
    for (size_t kind = 0; kind < sizeof(newline_every) / sizeof(newline_every[0]); kind++)
        for (size_t round = 0; round < 40; round++) {
            size_t size = 1 + (size_t)rand() % 65536, period = newline_every[kind];
            char *data = malloc(size);
            for (size_t i = 0; i < size; i++)
                data[i] =
                    (i + 1) % period == 0 || (round % 2 && rand() % 97 == 0) ? '\n' : (char)(rand() % 256);
            check_log(data, size, CK_LOG_PIECE + CK_LOG_PREFIX + 1 + (size_t)rand() % 60000);
            free(data);
        }
}

static void test_restart(void) {
    assert(!ck_restart_is_wanted(CK_RESTART_NO, 0, 0, 1 << 8, false));
    assert(ck_restart_is_wanted(CK_RESTART_ALWAYS, 0, 99, 0, false));
    assert(ck_restart_is_wanted(CK_RESTART_UNLESS_STOPPED, 0, 99, 0, false));
    assert(ck_restart_is_wanted(CK_RESTART_ON_FAILURE, 0, 99, 9, false));
    assert(ck_restart_is_wanted(CK_RESTART_ON_FAILURE, 2, 1, 1 << 8, false));
    assert(!ck_restart_is_wanted(CK_RESTART_ON_FAILURE, 2, 2, 1 << 8, false));
    assert(!ck_restart_is_wanted(CK_RESTART_ON_FAILURE, 0, 0, 0, false));
    for (uint32_t policy = 0; policy < 6; policy++)
        assert(!ck_restart_is_wanted(policy, 0, 0, 1 << 8, true));
}

static void test_backoff(void) {
    static const uint64_t expected[] = {100,  200,   400,   800,   1600,  3200,
                                        6400, 12800, 25600, 51200, 60000, 60000};
    uint64_t pause = 0;
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        pause = ck_restart_backoff(pause, i % 2 ? 9999 : 0);
        assert(pause == expected[i]);
    }
    assert(ck_restart_backoff(60000, 10000) == 100);
}

int main(void) {
    test_stamps();
    test_numbers();
    test_stat();
    test_counters();
    test_log();
    test_restart();
    test_backoff();
    puts("ok");
    return 0;
}

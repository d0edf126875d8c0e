// monitor_format.h: the monitor's pure functions: text, log records, restart decisions.
//
// No system calls and no monitor state, so they compile into a hosted test as well.
#ifndef CK_MONITOR_FORMAT_H
#define CK_MONITOR_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// ---- a writer: appends never run over; what does not fit is cut off ------------------
struct ck_writer {
    char *data;
    size_t size, capacity;
};

void ck_put_bytes(struct ck_writer *to, const char *bytes, size_t size);
void ck_put_string(struct ck_writer *to, const char *string);
void ck_put_number(struct ck_writer *to, uint64_t number);
void ck_put_signed(struct ck_writer *to, int64_t number);
void ck_put_end(struct ck_writer *to); // a NUL behind the text, within the capacity
size_t ck_string_size(const char *string);

#define CK_STAMP 30u // 2026-11-21T01:30:48.123456789Z
void ck_format_stamp(char stamp[CK_STAMP], uint64_t ns_since_epoch);

// Field 9 (flags) and 22 (start time) of /proc/<pid>/stat; false when the text is cut off.
bool ck_parse_stat(const char *stat, size_t size, uint64_t *flags, uint64_t *start_time);
// The number behind "key " at the start of a line, as in memory.events; 0 when absent.
uint64_t ck_parse_counter(const char *text, size_t size, const char *key);

// ---- monitor_cri.c: log records -----------------------------------------------------
#define CK_LOG_PIECE 16384u            // longest text of one record
#define CK_LOG_PREFIX (CK_STAMP + 10u) // stamp, stream, F or P and their spaces

// Format as many whole records as fit. *used says how much of the data went in.
size_t ck_log_format(char *out, size_t capacity, const char stamp[CK_STAMP], const char *stream,
                     const char *data, size_t size, size_t *used);

// ---- monitor_restart.c ----------------------------------------------------------------
#define CK_BACKOFF_FIRST_MS 100u
#define CK_BACKOFF_LAST_MS 60000u
#define CK_BACKOFF_RESET_MS 10000u // a run this long counts as a success

bool ck_restart_is_wanted(uint32_t policy, uint32_t maximum, uint32_t restarts, int32_t status,
                          bool stopping);
uint64_t ck_restart_backoff(uint64_t previous_ms, uint64_t run_ms);

#endif

// decode.h: read the bytes of a request. The only parser of the project's native half.
//
// Zero-copy: what comes out points into what went in, which must stay mapped and unchanged.
// Every function returns 0 or -EBADMSG; a request that passes ck_open_request cannot make
// anybody read out of bounds.
#ifndef CK_DECODE_H
#define CK_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ckit.h"
#include "launch.h"

struct ck_cursor {
    const unsigned char *at;
    const unsigned char *end;
};

// A path, byte string or list element. A path has no NUL before its end and one there.
struct ck_text {
    const char *at;
    uint32_t size; // without the NUL
};

// A list of strings that was checked as a whole: take `count` times with ck_take_path.
struct ck_strings {
    struct ck_cursor rest;
    uint32_t count;
};

int ck_take_u32(struct ck_cursor *from, uint32_t *value);
int ck_take_u64(struct ck_cursor *from, uint64_t *value);
int ck_take_slot(struct ck_cursor *from, uint32_t *slot);
int ck_take_path(struct ck_cursor *from, struct ck_text *path);
int ck_take_bytes(struct ck_cursor *from, struct ck_text *bytes);
int ck_take_strings(struct ck_cursor *from, struct ck_strings *strings);

// The fields of a record, whatever its format: the member that fits the field's kind is set.
struct ck_field {
    union {
        uint64_t number;           // s u U
        struct ck_text text;       // p b
        struct ck_strings strings; // S
    };
};

#define CK_MAX_FIELDS 8u // of any step

// Decode a record of the given format, which must end exactly where the cursor does.
int ck_take_record(struct ck_cursor *from, const char *format, struct ck_field *fields);

// The next string of a list, or NULL at its end.
const char *ck_next_string(struct ck_strings *strings);

// The next step: its code and a cursor on its fields.
int ck_take_step(struct ck_cursor *from, uint32_t *code, struct ck_cursor *fields);

// The format of an op as CK_OPS has it, or NULL.
const char *ck_op_format(uint32_t code);

// The settings record, in the order of CK_SETTINGS_FORMAT: an index of ck_request_view.settings.
enum ck_setting {
    CK_SETTING_FLAGS,
    CK_SETTING_OWNER_PID,
    CK_SETTING_NAMESPACES,
    CK_SETTING_CONTAINER_DIR,
    CK_SETTING_RUNTIME_DIR,
    CK_SETTING_DIRS,
    CK_SETTING_DIR_MODE,
    CK_SETTING_CGROUP_PARENT,
    CK_SETTING_CGROUP_NAME,
    CK_SETTING_CGROUP_WRITES,
    CK_SETTING_STOP_SIGNAL,
    CK_SETTING_STOP_TIMEOUT_MS,
    CK_SETTING_RESTART,
    CK_SETTING_RESTART_MAX,
    CK_SETTING_LOG_MAX_BYTES,
    CK_SETTING_LOG_MAX_FILES,
    CK_SETTING_HEALTH_INTERVAL_MS,
    CK_SETTING_HEALTH_TIMEOUT_MS,
    CK_SETTING_HEALTH_RETRIES,
    CK_SETTING_HEALTH_START_PERIOD_MS,
    CK_SETTING_HEALTH_START_INTERVAL_MS,
    CK_SETTING_TIME_LIMIT_MS,
    CK_SETTING_COUNT,
};

_Static_assert(sizeof(CK_SETTINGS_FORMAT) == CK_SETTING_COUNT + 1, "one name for each setting");

// A whole request, checked: every section is in bounds and every plan passes ck_check_plan.
struct ck_request_view {
    bool has_settings, has_plan, has_health;
    struct ck_field settings[CK_SETTING_COUNT];
    struct ck_plan plan;
    struct ck_plan health;
};

int ck_open_request(const void *request, size_t size, struct ck_request_view *view);

#endif

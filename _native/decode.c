// decode.c: see decode.h. No system call, no state, no allocation.
#include "decode.h"

#include <linux/errno.h>

#define CK_PADDED(size) (((uint64_t)(size) + 3u) & ~(uint64_t)3u)

static uint32_t load_u32(const unsigned char *at) {
    uint32_t value;
    __builtin_memcpy(&value, at, sizeof(value));
    return value;
}

static uint64_t left(const struct ck_cursor *from) {
    return (uint64_t)(from->end - from->at);
}

int ck_take_u32(struct ck_cursor *from, uint32_t *value) {
    if (left(from) < sizeof(*value))
        return -EBADMSG;
    *value = load_u32(from->at);
    from->at += sizeof(*value);
    return 0;
}

int ck_take_u64(struct ck_cursor *from, uint64_t *value) {
    if (left(from) < sizeof(*value))
        return -EBADMSG;
    __builtin_memcpy(value, from->at, sizeof(*value));
    from->at += sizeof(*value);
    return 0;
}

int ck_take_slot(struct ck_cursor *from, uint32_t *slot) {
    if (ck_take_u32(from, slot) < 0 || *slot >= CK_MAX_SLOTS)
        return -EBADMSG;
    return 0;
}

// Length, bytes, one NUL at least, zeros up to a multiple of four.
int ck_take_bytes(struct ck_cursor *from, struct ck_text *bytes) {
    uint32_t size;
    if (ck_take_u32(from, &size) < 0)
        return -EBADMSG;
    uint64_t padded = CK_PADDED((uint64_t)size + 1);
    if (left(from) < padded)
        return -EBADMSG;
    for (uint64_t i = size; i < padded; i++) {
        if (from->at[i] != 0)
            return -EBADMSG;
    }
    *bytes = (struct ck_text){.at = (const char *)from->at, .size = size};
    from->at += padded;
    return 0;
}

int ck_take_path(struct ck_cursor *from, struct ck_text *path) {
    if (ck_take_bytes(from, path) < 0)
        return -EBADMSG;
    for (uint32_t i = 0; i < path->size; i++) {
        if (path->at[i] == 0)
            return -EBADMSG;
    }
    return 0;
}

int ck_take_strings(struct ck_cursor *from, struct ck_strings *strings) {
    uint32_t count;
    if (ck_take_u32(from, &count) < 0)
        return -EBADMSG;
    strings->count = count;
    strings->rest.at = from->at;
    for (uint32_t i = 0; i < count; i++) {
        struct ck_text ignored;
        if (ck_take_path(from, &ignored) < 0)
            return -EBADMSG;
    }
    strings->rest.end = from->at;
    return 0;
}

static int take_number32(struct ck_cursor *from, struct ck_field *field, bool is_slot) {
    uint32_t value;
    if ((is_slot ? ck_take_slot : ck_take_u32)(from, &value) < 0)
        return -EBADMSG;
    field->number = value;
    return 0;
}

static int take_field(struct ck_cursor *from, char kind, struct ck_field *field) {
    switch (kind) {
    case 's':
        return take_number32(from, field, true);
    case 'u':
        return take_number32(from, field, false);
    case 'U':
        return ck_take_u64(from, &field->number);
    case 'p':
        return ck_take_path(from, &field->text);
    case 'b':
        return ck_take_bytes(from, &field->text);
    case 'S':
        return ck_take_strings(from, &field->strings);
    default:
        return -EBADMSG;
    }
}

int ck_take_record(struct ck_cursor *from, const char *format, struct ck_field *fields) {
    for (uint32_t i = 0; format[i] != 0; i++) {
        if (take_field(from, format[i], &fields[i]) < 0)
            return -EBADMSG;
    }
    return from->at == from->end ? 0 : -EBADMSG;
}

const char *ck_next_string(struct ck_strings *strings) {
    struct ck_text text;
    if (strings->count == 0 || ck_take_path(&strings->rest, &text) < 0)
        return NULL;
    strings->count--;
    return text.at;
}

int ck_take_step(struct ck_cursor *from, uint32_t *code, struct ck_cursor *fields) {
    if (left(from) < sizeof(struct ck_step))
        return -EBADMSG;
    uint32_t size = load_u32(from->at + offsetof(struct ck_step, size));
    if (size < sizeof(struct ck_step) || size % 4 != 0 || size > left(from))
        return -EBADMSG;
    *code = load_u32(from->at + offsetof(struct ck_step, code));
    fields->at = from->at + sizeof(struct ck_step);
    fields->end = from->at + size;
    from->at += size;
    return 0;
}

const char *ck_op_format(uint32_t code) {
#define CK_CHECK_FORMAT(name, number, format)                                                                \
    _Static_assert((number) < CK_OP_LIMIT && sizeof(format) - 1 <= CK_MAX_FIELDS, #name);
#define CK_FORMAT_OF(name, number, format)                                                                   \
    case number:                                                                                             \
        return format;
    CK_OPS(CK_CHECK_FORMAT)
    switch (code) {
        CK_OPS(CK_FORMAT_OF)
    default:
        return NULL;
    }
#undef CK_FORMAT_OF
#undef CK_CHECK_FORMAT
}

int ck_check_plan(const struct ck_plan *plan) {
    if (plan->count > CK_MAX_STEPS || (uintptr_t)plan->steps % 4 != 0)
        return -EBADMSG;
    struct ck_cursor rest = {.at = plan->steps, .end = plan->steps + plan->size};
    for (uint32_t step = 0; step < plan->count; step++) {
        uint32_t code;
        struct ck_cursor fields;
        if (ck_take_step(&rest, &code, &fields) < 0)
            return -EBADMSG;
        const char *format = ck_op_format(code);
        struct ck_field field[CK_MAX_FIELDS];
        if (format == NULL || ck_take_record(&fields, format, field) < 0)
            return -EBADMSG;
    }
    return rest.at == rest.end ? 0 : -EBADMSG;
}

static int open_plan(const unsigned char *at, const struct ck_section *section, struct ck_plan *plan,
                     bool *present) {
    if (*present)
        return -EBADMSG;
    *present = true;
    *plan = (struct ck_plan){.steps = at, .size = section->size, .count = section->count};
    return ck_check_plan(plan);
}

static int open_section(const unsigned char *at, const struct ck_section *section,
                        struct ck_request_view *view) {
    struct ck_cursor record = {.at = at, .end = at + section->size};
    switch (section->kind) {
    case CK_SECTION_SETTINGS:
        if (view->has_settings)
            return -EBADMSG;
        view->has_settings = true;
        return ck_take_record(&record, CK_SETTINGS_FORMAT, view->settings);
    case CK_SECTION_PLAN:
        return open_plan(at, section, &view->plan, &view->has_plan);
    case CK_SECTION_HEALTH:
        return open_plan(at, section, &view->health, &view->has_health);
    default:
        return -EBADMSG;
    }
}

static bool is_unused(const struct ck_section *section) {
    return section->kind == 0 && section->offset == 0 && section->size == 0 && section->count == 0;
}

int ck_open_request(const void *request, size_t size, struct ck_request_view *view) {
    struct ck_request header;
    __builtin_memset(view, 0, sizeof(*view));
    if (size < sizeof(header) || size > UINT32_MAX || (uintptr_t)request % 8 != 0)
        return -EBADMSG;
    __builtin_memcpy(&header, request, sizeof(header));
    if (header.magic != CK_MAGIC || header.version != CK_VERSION || header.size != size ||
        header.section_count > CK_MAX_SECTIONS)
        return -EBADMSG;
    uint64_t free_from = sizeof(header);
    for (uint32_t i = 0; i < CK_MAX_SECTIONS; i++) {
        const struct ck_section *section = &header.section[i];
        if (i >= header.section_count) {
            if (!is_unused(section))
                return -EBADMSG;
            continue;
        }
        uint64_t end = (uint64_t)section->offset + section->size;
        if (section->offset % 8 != 0 || section->offset < free_from || end > size)
            return -EBADMSG;
        free_from = end;
        if (open_section((const unsigned char *)request + section->offset, section, view) < 0)
            return -EBADMSG;
    }
    return 0;
}

// fuzz_decode.c: any bytes are a request until decode.c says no.
//
// libFuzzer:  clang -fsanitize=fuzzer,address,undefined -DCK_LIBFUZZER fuzz_decode.c decode.c
// plain, AFL:  cc -fsanitize=address,undefined fuzz_decode.c decode.c; ./a.out FILE…
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decode.h"

static volatile uint64_t seen; // written, so that no read is optimised away

static void read_text(const char *text) {
    seen += strlen(text);
}

static void read_fields(const char *format, struct ck_field *field) {
    for (; *format != 0; format++, field++) {
        if (strchr("suU", *format) != NULL)
            seen += field->number;
        else if (*format == 'S')
            for (const char *text; (text = ck_next_string(&field->strings)) != NULL;)
                read_text(text);
        else
            read_text(field->text.at);
    }
}

// Read an accepted plan as the executor does; what was accepted must be readable to the end.
static void read_plan(const struct ck_plan *plan) {
    struct ck_cursor rest = {plan->steps, plan->steps + plan->size};
    for (uint32_t step = 0; step < plan->count; step++) {
        struct ck_field field[CK_MAX_FIELDS];
        struct ck_cursor fields;
        uint32_t code;
        if (ck_take_step(&rest, &code, &fields) < 0 || ck_op_format(code) == NULL ||
            ck_take_record(&fields, ck_op_format(code), field) < 0)
            abort();
        read_fields(ck_op_format(code), field);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct ck_request_view view;
    unsigned char *request = malloc(size + (size == 0)); // of its exact size: one byte beyond is seen
    if (request == NULL)
        return 0;
    memcpy(request, data, size);
    if (ck_open_request(request, size, &view) == 0) {
        if (view.has_settings)
            read_fields(CK_SETTINGS_FORMAT, view.settings);
        if (view.has_plan)
            read_plan(&view.plan);
        if (view.has_health)
            read_plan(&view.health);
    }
    free(request);
    return 0;
}

#ifndef CK_LIBFUZZER
#include "fuzz_main.h"
#endif

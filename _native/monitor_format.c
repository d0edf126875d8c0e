// monitor_format.c: numbers and times as text, and back. Pure.
#include "monitor_format.h"

size_t ck_string_size(const char *string) {
    size_t size = 0;
    while (string[size])
        size++;
    return size;
}

void ck_put_bytes(struct ck_writer *to, const char *bytes, size_t size) {
    for (size_t i = 0; i < size && to->size < to->capacity; i++)
        to->data[to->size++] = bytes[i];
}

void ck_put_string(struct ck_writer *to, const char *string) {
    ck_put_bytes(to, string, ck_string_size(string));
}

void ck_put_number(struct ck_writer *to, uint64_t number) {
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    ck_put_bytes(to, digits + at, sizeof(digits) - at);
}

void ck_put_signed(struct ck_writer *to, int64_t number) {
    if (number < 0)
        ck_put_string(to, "-");
    ck_put_number(to, number < 0 ? 0 - (uint64_t)number : (uint64_t)number);
}

void ck_put_end(struct ck_writer *to) {
    to->data[to->size < to->capacity ? to->size : to->capacity - 1] = 0;
}

static void put_digits(char *out, unsigned width, uint64_t number) {
    while (width-- > 0) {
        out[width] = (char)('0' + number % 10);
        number /= 10;
    }
}

// The civil date of a day number: years are counted from March, so that the leap day is
// the last one, in eras of 400 years (146097 days).
static void put_date(char *out, uint64_t days_since_epoch) {
    uint64_t days = days_since_epoch + 719468; // since 0000-03-01
    uint64_t era = days / 146097;
    uint64_t day_of_era = days % 146097;
    uint64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint64_t month = (5 * day_of_year + 2) / 153; // 0 is March
    put_digits(out, 4, era * 400 + year_of_era + (month >= 10));
    put_digits(out + 5, 2, month < 10 ? month + 3 : month - 9);
    put_digits(out + 8, 2, day_of_year - (153 * month + 2) / 5 + 1);
    out[4] = out[7] = '-';
}

void ck_format_stamp(char stamp[CK_STAMP], uint64_t ns_since_epoch) {
    uint64_t seconds = ns_since_epoch / 1000000000u;
    put_date(stamp, seconds / 86400);
    put_digits(stamp + 11, 2, seconds / 3600 % 24);
    put_digits(stamp + 14, 2, seconds / 60 % 60);
    put_digits(stamp + 17, 2, seconds % 60);
    put_digits(stamp + 20, 9, ns_since_epoch % 1000000000u);
    stamp[10] = 'T';
    stamp[13] = stamp[16] = ':';
    stamp[19] = '.';
    stamp[29] = 'Z';
}

static uint64_t parse_number(const char *text, size_t size, size_t *at) {
    uint64_t number = 0;
    while (*at < size && text[*at] >= '0' && text[*at] <= '9')
        number = number * 10 + (uint64_t)(text[(*at)++] - '0');
    return number;
}

bool ck_parse_stat(const char *stat, size_t size, uint64_t *flags, uint64_t *start_time) {
    size_t at = size;
    while (at > 0 && stat[at - 1] != ')') // the name before it may hold anything
        at--;
    for (unsigned field = 3; at > 0 && at < size && field <= 22; field++) {
        while (at < size && stat[at] == ' ')
            at++;
        size_t digits = at;
        uint64_t number = parse_number(stat, size, &digits);
        if (field == 9)
            *flags = number;
        if (field == 22 && digits > at && digits < size) {
            *start_time = number;
            return true;
        }
        while (at < size && stat[at] != ' ')
            at++;
    }
    return false;
}

uint64_t ck_parse_counter(const char *text, size_t size, const char *key) {
    size_t key_size = ck_string_size(key);
    for (size_t line = 0; line < size;) {
        size_t same = 0;
        while (same < key_size && line + same < size && text[line + same] == key[same])
            same++;
        size_t at = line + same + 1;
        if (same == key_size && at < size && text[at - 1] == ' ')
            return parse_number(text, size, &at);
        while (line < size && text[line] != '\n')
            line++;
        line++;
    }
    return 0;
}

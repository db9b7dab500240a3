/* Log records: formatted in one buffer, written with one write(2). */
#include "base/log.h"

#include "base/buf.h"
#include "base/sys.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { RECORD_MAX = 4096, MESSAGE_MAX = 2048 };

static enum log_level log_threshold = LOG_INFO;
static enum log_format log_form = LOG_TEXT;

static const char *const level_names[] = {"", "error", "warn", "info", "debug"};

void log_setup(enum log_level level, enum log_format format)
{
    log_threshold = level;
    log_form = format;
}

bool log_is_on(enum log_level level)
{
    return level <= log_threshold;
}

bool log_level_parse(struct str text, enum log_level *ret)
{
    for (int level = LOG_ERROR; level <= LOG_DEBUG; level++) {
        if (str_eq(text, str_from(level_names[level]))) {
            *ret = (enum log_level)level;
            return true;
        }
    }
    return false;
}

size_t time_format(char buf[TIME_TEXT_MAX], int64_t wall_ns, unsigned digits)
{
    time_t seconds = (time_t)(wall_ns / 1000000000);
    long fraction = (long)(wall_ns % 1000000000);
    struct tm tm;
    size_t len;

    gmtime_r(&seconds, &tm);
    len = strftime(buf, TIME_TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
    if (digits == 3)
        len += (size_t)snprintf(buf + len, TIME_TEXT_MAX - len, ".%03ld", fraction / 1000000);
    else if (digits == 9)
        len += (size_t)snprintf(buf + len, TIME_TEXT_MAX - len, ".%09ld", fraction);
    len += (size_t)snprintf(buf + len, TIME_TEXT_MAX - len, "Z");
    return len;
}

/* Length of the valid UTF-8 sequence at the front of s, 0 when there is none. */
static size_t utf8_sequence(struct str s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    size_t n = p[0] >= 0xf0 && p[0] <= 0xf4 ? 4 : p[0] >= 0xe0 ? 3 : p[0] >= 0xc2 ? 2 : 0;

    if (n == 0 || p[0] > 0xf4 || n > s.len)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

int log_escape_json(struct buf *buf, struct str s)
{
    int err = 0;

    for (size_t i = 0; i < s.len && !err;) {
        unsigned char c = (unsigned char)s.ptr[i];

        if (c >= 0x80) {
            size_t n = utf8_sequence(str_sub(s, i, s.len));

            err = n ? buf_add(buf, s.ptr + i, n) : buf_add(buf, "\\ufffd", 6);
            i += n ? n : 1;
            continue;
        }
        if (c == '"' || c == '\\')
            err = buf_printf(buf, "\\%c", c);
        else if (c == '\n')
            err = buf_add(buf, "\\n", 2);
        else if (c < 0x20 || c == 0x7f)
            err = buf_printf(buf, "\\u%04x", c);
        else
            err = buf_add(buf, s.ptr + i, 1);
        i++;
    }
    return err;
}

/* Text records keep printable ASCII and escape the rest as \xNN. */
static void escape_text(struct buf *buf, struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];

        if (c < 0x20 || c >= 0x7f)
            (void)buf_printf(buf, "\\x%02x", c);
        else
            (void)buf_add(buf, s.ptr + i, 1);
    }
}

void log_write(enum log_level level, const char *area, const char *format, ...)
{
    char message[MESSAGE_MAX], time[TIME_TEXT_MAX];
    struct buf record;
    struct str text;
    va_list args;
    int len;

    if (!log_is_on(level))
        return;
    va_start(args, format);
    len = vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    text = str_make(message, len < 0 ? 0 : len < MESSAGE_MAX ? (size_t)len : MESSAGE_MAX - 1);

    buf_init(&record, RECORD_MAX - 8);
    time_format(time, sys_wall_ns(), 3);
    if (log_form == LOG_JSON) {
        (void)buf_printf(&record, "{\"time\":\"%s\",\"level\":\"%s\",\"area\":\"%s\",\"msg\":\"",
                         time, level_names[level], area);
        (void)log_escape_json(&record, text);
        record.max = 0;
        (void)buf_add(&record, "\"}\n", 3);
    } else {
        (void)buf_printf(&record, "%s %-5s %s: ", time, level_names[level], area);
        escape_text(&record, text);
        record.max = 0;
        (void)buf_add(&record, "\n", 1);
    }
    if (write(STDERR_FILENO, buf_str(&record).ptr, buf_len(&record)) < 0) {
        /* nowhere left to say so */
    }
    buf_free(&record);
}

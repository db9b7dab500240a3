/* The log: one record per line on stderr, as text or as JSON. Control bytes and non-ASCII bytes are
 * escaped, so that no input can forge a record. Any thread. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/str.h"

enum log_level { LOG_ERROR = 1, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

/* Before threads start, or under no load: not synchronised with writers. */
void log_setup(enum log_level level, enum log_format format);
bool log_is_on(enum log_level level);
bool log_level_parse(struct str text, enum log_level *ret);

/* `area` is the folder or plugin instance that speaks: "app", "proxy", "provider-process". */
void log_write(enum log_level level, const char *area, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(area, ...) log_write(LOG_ERROR, area, __VA_ARGS__)
#define log_warn(area, ...)  log_write(LOG_WARN, area, __VA_ARGS__)
#define log_info(area, ...)  log_write(LOG_INFO, area, __VA_ARGS__)
#define log_debug(area, ...)                                                                       \
    (log_is_on(LOG_DEBUG) ? log_write(LOG_DEBUG, area, __VA_ARGS__) : (void)0)

struct buf;
/* Appends `s` so that it can stand inside a JSON string, without the quotes: control bytes, quotes
 * and invalid UTF-8 are escaped or replaced. 0 or the error of buf_add. */
int log_escape_json(struct buf *buf, struct str s);

/* RFC 3339 with the given number of fraction digits (0, 3, 9), UTC, into buf; returns its length.
 */
enum { TIME_TEXT_MAX = 40 };
size_t time_format(char buf[TIME_TEXT_MAX], int64_t wall_ns, unsigned digits);

#endif

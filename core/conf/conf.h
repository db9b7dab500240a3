/* Configuration: YAML with line numbers, and typed binding of a mapping to a struct by a table of
 * keys. Every complaint is one line "FILE:LINE: WHO: what is wrong and what to do", collected so
 * that `fngate check` shows all of them at once.
 */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"

enum conf_node_type { CONF_NULL, CONF_SCALAR, CONF_LIST, CONF_MAP };

struct conf_node {
    enum conf_node_type type;
    int line;
    struct str text;               /* CONF_SCALAR, NUL-terminated */
    const struct conf_node *first; /* CONF_LIST, CONF_MAP: children */
    const struct conf_node *next;  /* sibling */
    struct str key;                /* in a map, NUL-terminated */
    int key_line;
};

struct conf_doc {
    struct pool pool;
    char *file;
    const struct conf_node *root; /* CONF_MAP or CONF_NULL */
};

/* Complaints and warnings, in the order found. */
struct conf_report {
    struct buf text; /* lines */
    unsigned errors, warnings;
};
void conf_report_init(struct conf_report *report);
void conf_report_free(struct conf_report *report);
void conf_error(struct conf_report *report, const struct conf_doc *doc, int line, const char *who,
                const char *format, ...) __attribute__((format(printf, 5, 6)));
void conf_warn(struct conf_report *report, const struct conf_doc *doc, int line, const char *who,
               const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Reads a file, or text (`file` is then only a name for messages). ${NAME} and ${NAME:-default} in
 * scalars are replaced from the environment, $${ stands for a plain ${. Anchors, tags, several
 * documents, duplicate keys, more than 32 levels, 200,000 values or 8 MiB are refused. NULL after a
 * complaint. */
struct conf_doc *conf_read(const char *file, struct conf_report *report);
struct conf_doc *conf_read_text(const char *file, struct str text, struct conf_report *report);
void conf_doc_free(struct conf_doc *doc);
const struct conf_node *conf_get(const struct conf_node *map, const char *key);

enum conf_type {
    CONF_STR = 1,
    CONF_BOOL,
    CONF_INT,
    CONF_SIZE,
    CONF_DURATION,
    CONF_STRS,
    CONF_PAIRS,
    CONF_ANY /* left to the caller; accepted as it is */
};
enum { CONF_REQUIRED = 1 << 0, CONF_SECRET = 1 << 1, CONF_DEPRECATED = 1 << 2 };

struct conf_str_list {
    struct str *items;
    size_t count;
};
struct conf_pair {
    struct str key, value;
};
struct conf_pair_list {
    struct conf_pair *items;
    size_t count;
};

/* One key; see FNG_CONF_* of fngate/plugin.h for the meaning of each type and bound. Target types:
 * struct str (NUL-terminated), int32_t, int64_t, uint64_t, int64_t (ms), conf_str_list,
 * conf_pair_list, const struct conf_node * for CONF_ANY. */
struct conf_key {
    const char *name;
    enum conf_type type;
    unsigned flags;
    const char *default_value;
    const char *help;
    int64_t min, max;
    size_t offset;
    const char *env; /* environment variable that overrides the file; NULL: none */
};

/* Writes defaults, then the file's values, then the environment's into *target. Unknown keys are
 * complaints with the nearest known key. A SECRET key may be given as KEY_file: its content (at
 * most 64 KiB), trimmed at the end, is the value; a relative path begins at the file's folder.
 * Texts of defaults and of the environment give lists as "a, b" and maps as "k=v, k=v". `map` may
 * be NULL (defaults only), `doc` too then. Strings live in `pool`, so that the document may go
 * first; only nodes of CONF_ANY are the document's. Targets of keys with a complaint keep their
 * default. */
void conf_bind(const struct conf_doc *doc, const struct conf_node *map, const struct conf_key *keys,
               size_t count, const char *who, void *target, struct pool *pool,
               struct conf_report *report);

/* 0, or -EINVAL with a text when the default does not parse or is out of bounds, or min > max. */
int conf_check_key(const struct conf_key *key, struct err *err);

/* The keys with type, default and help, as text for `fngate plugins FILE`. */
void conf_describe(const struct conf_key *keys, size_t count, struct buf *out);

#endif

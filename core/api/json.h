/* JSON of the API: reading request bodies by tables of fields, and writing replies.
 *
 * Reading is strict about types (the complaint names the field, what was expected and what came),
 * duplicate keys and depth; null counts as absent and unknown fields are ignored, as old clients
 * need it. Strings that were read point into the document, which the request keeps.
 */
#ifndef API_JSON_H
#define API_JSON_H

#include <fngate/types.h>
#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

enum { JSON_DEPTH_MAX = 16 };

/* Parses a whole body that must be an object. NULL after a text in *err. */
json_t *json_read_object(struct str body, struct err *err);
/* Makes jansson overwrite what it frees, as bodies carry secrets. Once, before threads start. */
void json_wipe_on_free(void);

enum json_field_type {
    JSON_FIELD_STR,    /* struct fng_str */
    JSON_FIELD_BOOL,   /* bool */
    JSON_FIELD_UINT32, /* struct json_uint */
    JSON_FIELD_STRS,   /* struct fng_str_list */
    JSON_FIELD_PAIRS,  /* struct fng_kv_list: an object of strings */
};

struct json_uint {
    bool is_set;
    uint32_t value;
};

struct json_field {
    const char *name;
    enum json_field_type type;
    size_t offset;
};

/* Fills *target; absent fields are left as they are. Arrays live in `pool`. 0 or -EINVAL, -ENOMEM
 * with a text. */
int json_bind(const json_t *object, const struct json_field *fields, size_t count, void *target,
              struct pool *pool, struct err *err);

/* Writing: members and elements one after the other; commas are kept track of. An error of the
 * buffer sticks in the buffer's user: check `error` at the end. */
struct json_out {
    struct buf *buf;
    bool needs_comma;
    int error;
};

void json_open(struct json_out *out, const char *key, char bracket); /* key NULL: no key */
void json_close(struct json_out *out, char bracket);
void json_put_str(struct json_out *out, const char *key, struct str value);
void json_put_u64(struct json_out *out, const char *key, uint64_t value);
void json_put_double(struct json_out *out, const char *key, double value);
void json_put_bool(struct json_out *out, const char *key, bool value);
/* A member whose key comes from outside. */
void json_put_pair(struct json_out *out, struct str key, struct str value);

#endif

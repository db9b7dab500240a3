/* Heads as lists of fields, and what a gateway may pass on of them. */
#include "http/message.h"

#include "base/assert.h"

#include <errno.h>

const struct http_limits http_limits_default = HTTP_LIMITS_DEFAULT;

enum { FIELDS_CAP_MIN = 16 };

void http_head_init(struct http_head *head, struct pool *pool)
{
    *head = (struct http_head){.pool = pool, .minor = 1, .keep_alive = true};
}

int http_head_reserve(struct http_head *head, size_t count)
{
    size_t cap = head->cap ? head->cap : FIELDS_CAP_MIN;
    struct http_field *fields;

    if (count <= head->cap)
        return 0;
    while (cap < count)
        cap *= 2;
    fields = pool_alloc(head->pool, cap * sizeof(*fields));
    if (!fields)
        return -ENOMEM;
    if (head->count)
        memcpy(fields, head->fields, head->count * sizeof(*fields));
    head->fields = fields;
    head->cap = cap;
    return 0;
}

const struct http_field *http_head_find(const struct http_head *head, struct str name)
{
    for (size_t i = 0; i < head->count; i++)
        if (str_ieq(head->fields[i].name, name))
            return &head->fields[i];
    return NULL;
}

struct str http_head_get(const struct http_head *head, struct str name)
{
    const struct http_field *field = http_head_find(head, name);

    return field ? field->value : STR_NONE;
}

int http_head_add(struct http_head *head, struct str name, struct str value)
{
    int err = http_head_reserve(head, head->count + 1);

    if (err)
        return err;
    head->fields[head->count++] = (struct http_field){name, value};
    return 0;
}

int http_head_set(struct http_head *head, struct str name, struct str value)
{
    http_head_remove(head, name);
    return http_head_add(head, name, value);
}

void http_head_remove(struct http_head *head, struct str name)
{
    size_t kept = 0;

    for (size_t i = 0; i < head->count; i++)
        if (!str_ieq(head->fields[i].name, name))
            head->fields[kept++] = head->fields[i];
    head->count = kept;
}

static bool list_has_token(struct str list, struct str token)
{
    struct str item;

    while (str_next(&list, ',', &item))
        if (str_ieq(item, token))
            return true;
    return false;
}

bool http_head_has_token(const struct http_head *head, struct str name, struct str token)
{
    for (size_t i = 0; i < head->count; i++)
        if (str_ieq(head->fields[i].name, name) && list_has_token(head->fields[i].value, token))
            return true;
    return false;
}

enum http_method http_method_parse(struct str text)
{
    static const struct {
        struct str text;
        enum http_method method;
    } table[] = {
        {{"GET", 3}, HTTP_GET},         {{"POST", 4}, HTTP_POST},   {{"HEAD", 4}, HTTP_HEAD},
        {{"PUT", 3}, HTTP_PUT},         {{"PATCH", 5}, HTTP_PATCH}, {{"DELETE", 6}, HTTP_DELETE},
        {{"OPTIONS", 7}, HTTP_OPTIONS},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (str_eq(text, table[i].text))
            return table[i].method;
    return HTTP_OTHER;
}

const char *http_status_reason(unsigned status)
{
    static const struct {
        unsigned status;
        const char *reason;
    } table[] = {
        {100, "Continue"},
        {101, "Switching Protocols"},
        {102, "Processing"},
        {103, "Early Hints"},
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {203, "Non-Authoritative Information"},
        {204, "No Content"},
        {205, "Reset Content"},
        {206, "Partial Content"},
        {300, "Multiple Choices"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {402, "Payment Required"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {407, "Proxy Authentication Required"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {425, "Too Early"},
        {426, "Upgrade Required"},
        {428, "Precondition Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {451, "Unavailable For Legal Reasons"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
        {508, "Loop Detected"},
        {511, "Network Authentication Required"},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (table[i].status == status)
            return table[i].reason;
    return "";
}

bool http_response_is_bodiless(enum http_method method, unsigned status)
{
    return method == HTTP_HEAD || status < 200 || status == 204 || status == 304;
}

static bool name_is_one_of(struct str name, const struct str *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (str_ieq(name, list[i]))
            return true;
    return false;
}

/* Fields about this connection, or about framing, or that a gateway answers itself. "Proxy" is no
 * HTTP field at all: CGI programs would see it as HTTP_PROXY. */
static bool is_hop_by_hop(struct str name)
{
    static const struct str list[] = {
        {"Connection", 10},
        {"Content-Length", 14},
        {"Transfer-Encoding", 17},
        {"Keep-Alive", 10},
        {"TE", 2},
        {"Trailer", 7},
        {"Upgrade", 7},
        {"Expect", 6},
        {"Proxy", 5},
        {"Proxy-Connection", 16},
        {"HTTP2-Settings", 14},
        {"Proxy-Authenticate", 18},
        {"Proxy-Authorization", 19},
    };

    return name_is_one_of(name, list, sizeof(list) / sizeof(list[0]));
}

/* Naming these in Connection would take from the next hop what it needs to judge the message. */
static bool is_safe_from_connection(struct str name)
{
    static const struct str list[] = {{"Content-Type", 12}, {"Authorization", 13}};

    return name_is_one_of(name, list, sizeof(list) / sizeof(list[0])) ||
           str_ieq(str_sub(name, 0, 12), STR("X-Forwarded-"));
}

bool http_connection_is_hostile(const struct http_head *head)
{
    return http_head_has_token(head, STR("Connection"), STR("Host")) ||
           http_head_has_token(head, STR("Connection"), STR("Content-Length")) ||
           http_head_has_token(head, STR("Connection"), STR("Transfer-Encoding"));
}

int http_head_copy_end_to_end(struct http_head *to, const struct http_head *from)
{
    struct pool *pool = to->pool;
    bool nominates = http_head_find(from, STR("Connection")) != NULL;
    int err;

    if (nominates && http_connection_is_hostile(from))
        return -EBADMSG;
    *to = *from;
    to->pool = pool;
    to->fields = NULL;
    to->count = to->cap = 0;
    to->minor = 1;
    to->keep_alive = true;
    to->expect_continue = false;
    err = http_head_reserve(to, from->count + FIELDS_CAP_MIN / 2);
    for (size_t i = 0; i < from->count && !err; i++) {
        const struct http_field *field = &from->fields[i];

        if (is_hop_by_hop(field->name))
            continue;
        if (nominates && http_head_has_token(from, STR("Connection"), field->name) &&
            !is_safe_from_connection(field->name))
            continue;
        err = http_head_add(to, field->name, field->value);
    }
    return err;
}

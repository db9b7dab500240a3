/* One llhttp run per head, on the stack: it never sees a split, a body or a second message. */
#include "http/h1_llhttp.h"

#include <errno.h>
#include <llhttp.h>

const char *h1_parser_version(void);

struct run {
    struct str target, name, value;
    int (*add)(void *arg, struct str name, struct str value);
    void *arg;
    int error;
    bool is_complete;
};

/* llhttp may give one element in two calls; the pieces are neighbours. */
static int span_extend(struct str *span, const char *at, size_t len)
{
    if (!span->ptr)
        *span = str_make(at, len);
    else
        span->len = (size_t)(at + len - span->ptr);
    return 0;
}

static int on_url(llhttp_t *parser, const char *at, size_t len)
{
    struct run *run = parser->data;

    return span_extend(&run->target, at, len);
}

static int on_field(llhttp_t *parser, const char *at, size_t len)
{
    struct run *run = parser->data;

    return span_extend(&run->name, at, len);
}

static int on_value(llhttp_t *parser, const char *at, size_t len)
{
    struct run *run = parser->data;

    return span_extend(&run->value, at, len);
}

static int on_value_complete(llhttp_t *parser)
{
    struct run *run = parser->data;

    run->error = run->add(run->arg, run->name, str_trim(run->value));
    run->name = run->value = STR_NONE;
    return run->error ? -1 : 0;
}

static int on_headers_complete(llhttp_t *parser)
{
    struct run *run = parser->data;

    run->is_complete = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t *run_settings(void)
{
    static const llhttp_settings_t settings = {
        .on_url = on_url,
        .on_header_field = on_field,
        .on_header_value = on_value,
        .on_header_value_complete = on_value_complete,
        .on_headers_complete = on_headers_complete,
    };

    return &settings;
}

int h1_llhttp_head(bool is_request, struct str bytes,
                   int (*add)(void *arg, struct str name, struct str value), void *arg,
                   struct h1_start *ret_start, const char **ret_error)
{
    struct run run = {.add = add, .arg = arg};
    llhttp_t parser;
    llhttp_errno_t err;

    /* No lenient flag is ever set: nearly each of them opens a way to smuggle requests. */
    llhttp_init(&parser, is_request ? HTTP_REQUEST : HTTP_RESPONSE, run_settings());
    parser.data = &run;
    err = llhttp_execute(&parser, bytes.ptr, bytes.len);
    if (run.error)
        return run.error;
    if (err != HPE_PAUSED || !run.is_complete) {
        *ret_error = parser.reason ? parser.reason : "malformed head";
        return err == HPE_INVALID_METHOD || err == HPE_INVALID_CONSTANT ? -EOPNOTSUPP : -EBADMSG;
    }
    *ret_start =
        (struct h1_start){run.target, parser.http_major, parser.http_minor, parser.status_code};
    return 0;
}

#define TEXT(x)  #x
#define VALUE(x) TEXT(x)

const char *h1_parser_version(void)
{
    return "llhttp " VALUE(LLHTTP_VERSION_MAJOR) "." VALUE(LLHTTP_VERSION_MINOR) "." VALUE(
        LLHTTP_VERSION_PATCH);
}

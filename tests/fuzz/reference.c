/* llhttp as a second opinion on chunked bodies. Apart, as its header claims our names. */
#include "base/buf.h"

#include <llhttp.h>

bool reference_request(struct str input, struct buf *body, size_t *ret_used);

static int reference_body(llhttp_t *parser, const char *at, size_t len)
{
    return buf_add(parser->data, at, len) < 0 ? -1 : 0;
}

static int reference_end(llhttp_t *parser)
{
    (void)parser;
    return HPE_PAUSED;
}

bool reference_request(struct str input, struct buf *body, size_t *ret_used)
{
    static const llhttp_settings_t settings = {.on_body = reference_body,
                                               .on_message_complete = reference_end};
    llhttp_t parser;

    llhttp_init(&parser, HTTP_REQUEST, &settings);
    parser.data = body;
    if (llhttp_execute(&parser, input.ptr, input.len) != HPE_PAUSED)
        return false;
    *ret_used = (size_t)(llhttp_get_error_pos(&parser) - input.ptr);
    return true;
}

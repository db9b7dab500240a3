/* The HTTP server asks for these when it is given a TLS context. The watchdog never does, and
 * defining them here keeps OpenSSL out of the static executable. */
#include "base/assert.h"
#include "http/tls.h"

#include <errno.h>

struct tls_context *tls_context_ref(struct tls_context *tls)
{
    ASSERT(!tls);
    return NULL;
}

void tls_context_unref(struct tls_context *tls)
{
    ASSERT(!tls);
}

int tls_wrap(struct tls_context *tls, struct io *io)
{
    (void)tls;
    (void)io;
    return -ENOTSUP;
}

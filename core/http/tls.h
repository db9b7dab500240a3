/* TLS for listeners: OpenSSL behind the io_filter of loop/io.h. TLS 1.2 or newer. */
#ifndef HTTP_TLS_H
#define HTTP_TLS_H

#include "base/err.h"
#include "loop/io.h"

struct tls_context;

/* Reads certificate chain and key (PEM). Reference-counted: contexts are shared by loops and live
 * as long as a connection uses them. 0 or negative errno with a text that names the file. */
int tls_context_new(const char *cert_file, const char *key_file, struct tls_context **ret,
                    struct err *err);
struct tls_context *tls_context_ref(struct tls_context *tls);
void tls_context_unref(struct tls_context *tls);
/* Makes `io` a TLS server connection. 0 or -ENOMEM. */
int tls_wrap(struct tls_context *tls, struct io *io);

#endif

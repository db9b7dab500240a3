/* The credentials of the control API: the configured files, or a pair made at the first start. */
#ifndef APP_CREDENTIALS_H
#define APP_CREDENTIALS_H

#include "app/settings.h"
#include "auth/auth.h"

/* Where no files are configured, makes STATE_DIR/auth/basic-auth-user ("admin") and
 * basic-auth-password (random, mode 0600) unless they exist. 0 or negative errno with a text. */
int credentials_open(const struct settings *settings, struct auth **ret, struct err *err);

#endif

/* Who may do what: principals, permissions per route, HTTP basic authentication.
 * Any loop may ask: what it knows is immutable and swapped as a whole, only the count of wrong
 * tries is shared. */
#ifndef AUTH_AUTH_H
#define AUTH_AUTH_H

#include "base/err.h"
#include "http/message.h"

enum permission {
    PERM_PUBLIC, /* no credentials needed */
    PERM_SYSTEM_INFO,
    PERM_FUNCTION_READ,
    PERM_FUNCTION_WRITE,
    PERM_FUNCTION_SCALE,
    PERM_FUNCTION_LOGS,
    PERM_SECRET_READ,
    PERM_SECRET_WRITE,
    PERM_NAMESPACE_READ,
    PERM_NAMESPACE_WRITE,
    PERM_COUNT
};

struct auth;

/* Reads user and password from the two files, trimmed. Refuses files that are missing, empty, or
 * open to every user of the machine. 0 or negative errno with a text that says what to run. */
int auth_new_basic(const char *user_file, const char *password_file, struct auth **ret,
                   struct err *err);
/* Everybody may do everything. */
struct auth *auth_new_open(void);
/* From now on `auth` judges as `fresh` would; what was counted of wrong tries stays. `fresh` has
 * the former knowledge then: free it when every loop has passed a quiescent point. */
void auth_swap(struct auth *auth, struct auth *fresh);
void auth_free(struct auth *auth);

enum auth_verdict {
    AUTH_OK,
    AUTH_NEEDED /* 401 */,
    AUTH_DENIED /* 403 */,
    AUTH_THROTTLED /* 429 */
};
/* Judges the Authorization field. *ret_principal (name, may be NULL) is valid until the end of the
 * loop's turn.
 * Both user and password are hashed and compared in constant time. `peer` throttles guessing: after
 * 20 wrong tries within a minute no credentials from that address are looked at until the minute
 * is over. A request without credentials is no try. */
enum auth_verdict auth_check(struct auth *auth, const struct http_head *request,
                             enum permission permission, struct str peer,
                             struct str *ret_principal);

#endif

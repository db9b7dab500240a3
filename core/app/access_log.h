/* The access log: one record per finished call, on stdout, as text or JSON. */
#ifndef APP_ACCESS_LOG_H
#define APP_ACCESS_LOG_H

#include "proxy/proxy.h"

/* proxy_access_f; any worker loop, `arg` unused. */
void access_log_text(void *arg, const struct proxy_record *record);
void access_log_json(void *arg, const struct proxy_record *record);

#endif

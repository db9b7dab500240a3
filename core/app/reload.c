/* SIGHUP: reads the configuration file again. Certificates, keys and the log's level take effect at
 * once; what else changed is named, and needs a restart or `fngate serve --takeover`. */
#include "app/gateway_internal.h"

#include "base/log.h"

static void reload_tls(struct gateway *gateway, const struct settings *fresh)
{
    struct tls_context *tls;
    struct err err;

    if (!gateway->tls || !fresh->tls.certificate.len)
        return;
    if (tls_context_new(fresh->tls.certificate.ptr, fresh->tls.key.ptr, &tls, &err) < 0) {
        log_error("app", "reload: %s; the former certificate stays", err.text);
        return;
    }
    for (unsigned i = 0; i < gateway->workers_count; i++)
        worker_set_tls(gateway->workers[i], tls);
    tls_context_unref(gateway->tls);
    gateway->tls = tls;
    log_info("app", "reload: certificate and key were read again");
}

void gateway_reload(struct gateway *gateway)
{
    struct conf_report report;
    struct settings *fresh;

    if (gateway->phase != GATEWAY_SERVING)
        return;
    conf_report_init(&report);
    fresh = settings_read(gateway->file, &report);
    if (!fresh) {
        log_error("app", "reload refused, everything stays as it is: %.*s",
                  STR_ARG(buf_str(&report.text)));
    } else {
        settings_apply_log(fresh);
        reload_tls(gateway, fresh);
        settings_free(fresh);
    }
    conf_report_free(&report);
}

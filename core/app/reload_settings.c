/* The part of a reload that needs no plugin: what changes at once, and what cannot change. */
#include "app/gateway_internal.h"

#include "base/log.h"

/* ---- What a restart must change ---- */

static void say_fixed(const char *key)
{
    log_warn("app",
             "reload: '%s' has changed and keeps its running value; `fngate serve --takeover` "
             "applies it without losing a call",
             key);
}

static void keep_str(struct settings *fresh, struct str *value, struct str running, const char *key)
{
    if (str_eq(*value, running))
        return;
    say_fixed(key);
    *value = pool_str(&fresh->pool, running);
}

static void keep_int(int64_t *value, int64_t running, const char *key)
{
    if (*value == running)
        return;
    say_fixed(key);
    *value = running;
}

static void keep_size(uint64_t *value, uint64_t running, const char *key)
{
    if (*value == running)
        return;
    say_fixed(key);
    *value = running;
}

static void keep_flag(int32_t *value, int32_t running, const char *key)
{
    if (!*value == !running)
        return;
    say_fixed(key);
    *value = running;
}

static bool lists_differ(const struct conf_str_list *a, const struct conf_str_list *b)
{
    if (a->count != b->count)
        return true;
    for (size_t i = 0; i < a->count; i++)
        if (!str_eq(a->items[i], b->items[i]))
            return true;
    return false;
}

/* The running list itself lives in the gateway; here the fresh settings only have to say the same.
 */
static void keep_trusted(struct settings *fresh, const struct settings *running)
{
    struct conf_str_list *list = &fresh->proxy.trusted;

    if (!lists_differ(list, &running->proxy.trusted))
        return;
    say_fixed("proxy.trusted");
    list->count = running->proxy.trusted.count;
    list->items = pool_zalloc(&fresh->pool, (list->count + 1) * sizeof(*list->items));
    for (size_t i = 0; i < list->count; i++)
        list->items[i] = pool_str(&fresh->pool, running->proxy.trusted.items[i]);
}

static void keep_tls(struct settings *fresh, const struct settings *running)
{
    if ((fresh->tls.certificate.len > 0) == (running->tls.certificate.len > 0))
        return;
    say_fixed("tls");
    fresh->tls.certificate = pool_str(&fresh->pool, running->tls.certificate);
    fresh->tls.key = pool_str(&fresh->pool, running->tls.key);
}

static void keep_store(struct gateway *gateway, const struct settings *fresh)
{
    AUTO_FREE char *text = reload_entry_text(fresh, &fresh->store);

    if (!gateway->store_text)
        gateway->store_text = reload_entry_text(gateway->settings, &gateway->settings->store);
    if (!str_eq(str_from(text), str_from(gateway->store_text)))
        say_fixed("store");
}

void reload_keep_fixed(struct gateway *gateway, struct settings *fresh)
{
    const struct settings *running = gateway->settings;

    keep_int(&fresh->workers, running->workers, "workers");
    keep_str(fresh, &fresh->state_dir, running->state_dir, "state_dir");
    keep_str(fresh, &fresh->default_namespace, running->default_namespace, "default_namespace");
    keep_flag(&fresh->is_upsert, running->is_upsert, "upsert");
    keep_size(&fresh->limits.api_body_bytes, running->limits.api_body_bytes,
              "limits.api_body_bytes");
    keep_size(&fresh->limits.buffer_bytes, running->limits.buffer_bytes, "limits.buffer_bytes");
    keep_flag(&fresh->proxy.forwarded_for_port, running->proxy.forwarded_for_port,
              "proxy.forwarded_for_port");
    keep_trusted(fresh, running);
    keep_tls(fresh, running);
    keep_store(gateway, fresh);
}

/* ---- What changes at once ---- */

struct former_auth {
    struct loop_msg msg;
    struct auth *auth;
};

static void former_auth_free(struct loop_msg *msg)
{
    struct former_auth *former = CONTAINER_OF(msg, struct former_auth, msg);

    auth_free(former->auth);
    mem_free(former);
}

static void apply_auth(struct gateway *gateway, struct auth *fresh)
{
    struct former_auth *former = xcalloc(1, sizeof(*former));

    auth_swap(gateway->auth, fresh);
    former->msg.run = former_auth_free;
    former->auth = fresh;
    quiesce_call(gateway->domain, &former->msg);
}

static void apply_tls(struct gateway *gateway, struct tls_context *tls)
{
    for (unsigned i = 0; i < gateway->workers_count; i++)
        worker_set_tls(gateway->workers[i], tls);
    tls_context_unref(gateway->tls);
    gateway->tls = tls;
    log_info("app", "reload: certificate and key were read again");
}

void reload_apply(struct gateway *gateway, struct auth *auth, struct tls_context *tls)
{
    const struct settings *settings = gateway->settings;
    struct catalog_config config = gateway_catalog_config(gateway);

    settings_apply_log(settings);
    apply_auth(gateway, auth);
    if (tls)
        apply_tls(gateway, tls);
    catalog_configure(gateway->catalog, &config);
    scale_set_zero_duration(gateway->scale, settings->scale.zero_duration_ms);
    for (unsigned i = 0; i < gateway->workers_count; i++) {
        struct worker_config worker = gateway_worker_config(gateway, i);

        worker_configure(gateway->workers[i], &worker);
    }
}

/* ---- Entries as text ---- */

/* Lengths stand before texts, so that no two trees give the same. */
static void put_text(struct buf *out, struct str text)
{
    (void)buf_printf(out, "%zu:", text.len);
    (void)buf_add(out, text.ptr, text.len);
}

static void put_node(struct buf *out, const struct conf_node *node)
{
    (void)buf_printf(out, "%d(", node ? (int)node->type : (int)CONF_NULL);
    if (node && node->type == CONF_SCALAR)
        put_text(out, node->text);
    for (const struct conf_node *child = node ? node->first : NULL; child; child = child->next) {
        put_text(out, child->key);
        put_node(out, child);
    }
    (void)buf_add(out, ")", 1);
}

char *reload_entry_text(const struct settings *settings, const struct plugin_settings *entry)
{
    AUTO_FREE char *path = settings_plugin_path(settings, entry->plugin);
    struct buf out;
    char *text;

    buf_init(&out, 0);
    put_text(&out, entry->name);
    put_text(&out, str_from(path));
    (void)buf_printf(&out, "%d", entry->is_default != 0);
    for (size_t i = 0; i < entry->namespaces.count; i++)
        put_text(&out, entry->namespaces.items[i]);
    put_node(&out, entry->config);
    text = buf_take(&out, NULL);
    buf_free(&out);
    return text;
}

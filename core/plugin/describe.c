/* What a plugin says about itself, as text for people. */
#include "plugin/internal.h"

struct capability {
    uint32_t bit;
    const char *words;
};

static void describe_operations(const struct plugin *plugin, struct buf *out)
{
    size_t count;
    const struct operation_info *all = plugin_operations(plugin->descriptor.kind, &count);

    (void)buf_add_str(out, STR("operations:\n"));
    for (size_t i = 0; i < count; i++)
        (void)buf_printf(out, "  %s: %s\n", all[i].name,
                         plugin_has(plugin, &all[i]) ? "yes" : "no");
}

static void describe_capabilities(const struct fng_plugin *d, struct buf *out)
{
    static const struct capability provider[] = {
        {FNG_PROVIDER_CAN_LIMIT_MEMORY, "limit memory"},
        {FNG_PROVIDER_CAN_LIMIT_CPU, "limit cpu"},
        {FNG_PROVIDER_CAN_CONSTRAINTS, "placement constraints"},
        {FNG_PROVIDER_CAN_READ_ONLY_ROOT, "read-only root file system"},
        {FNG_PROVIDER_CAN_SCALE_TO_ZERO, "scale to zero"}};
    static const struct capability store[] = {{FNG_STORE_CAN_SHARE, "shared by several gateways"}};
    bool is_provider = d->kind == FNG_KIND_PROVIDER;
    const struct capability *all = is_provider ? provider : store;
    size_t count = is_provider ? sizeof(provider) / sizeof(provider[0]) : 1;

    (void)buf_add_str(out, STR("capabilities:\n"));
    for (size_t i = 0; i < count; i++)
        (void)buf_printf(out, "  %s: %s\n", all[i].words,
                         d->capabilities & all[i].bit ? "yes" : "no");
}

void plugin_describe(const struct plugin *plugin, struct buf *out)
{
    const struct fng_plugin *d = &plugin->descriptor;

    (void)buf_printf(out, "%s %s (%s)\n", d->name, d->version ? d->version : "",
                     plugin_kind_name(d->kind));
    (void)buf_printf(out, "%s\n", d->description ? d->description : "");
    (void)buf_printf(out, "file: %s\n", plugin->path);
    (void)buf_printf(out, "abi: %u.%u, needs a gateway with %u.%u or newer\n", d->abi_major,
                     d->abi_minor, d->abi_major, d->min_host_minor);
    describe_operations(plugin, out);
    describe_capabilities(d, out);
    (void)buf_add_str(out, STR("configuration:\n"));
    conf_describe(plugin->keys, plugin->keys_count, out);
}

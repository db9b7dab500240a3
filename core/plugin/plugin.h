/* Plugins: loading, configuration, life, and the one way into foreign code.
 *
 * A plugin is an opened and checked .so; an instance is one configured use of it. Everything here
 * belongs to the control loop, except what a comment gives to other threads. Calls run on the
 * instance's lanes; their outcome comes back as a call-back on the control loop. A call that
 * overruns its deadline is answered FNG_E_TIMEOUT; its job keeps owning its arguments until the
 * plugin returns, and the late result is dropped and counted.
 */
#ifndef PLUGIN_PLUGIN_H
#define PLUGIN_PLUGIN_H

#include <fngate/provider.h>
#include <fngate/store.h>

#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"
#include "loop/loop.h"
#include "plugin/spec.h"

struct plugin;
struct instance;
struct plugins;

/* ---- Loading: each refusal has a message of its own ---- */

/* Opens and checks `path`. The same file gives the same plugin. 0 or negative errno. */
int plugin_open(const char *path, struct plugin **ret, struct err *err);
const struct fng_plugin *plugin_descriptor(const struct plugin *plugin);
const char *plugin_path(const struct plugin *plugin);
const char *plugin_kind_name(uint32_t kind);
/* ABI, configuration keys with help, operations, capabilities: for `fngate plugins FILE.so`. */
void plugin_describe(const struct plugin *plugin, struct buf *out);

/* ---- What providers push. Called on the control loop; the results are FNG_* codes that the plugin
 * gets. Arguments are borrowed. ---- */
struct provider_sink {
    void *arg;
    int32_t (*snapshot_begin)(void *arg, struct instance *from);
    int32_t (*snapshot_commit)(void *arg, struct instance *from);
    int32_t (*snapshot_abort)(void *arg, struct instance *from);
    int32_t (*fn_upsert)(void *arg, struct instance *from, struct fn_spec *spec, struct str reason,
                         const struct fng_str *warnings, size_t warnings_count);
    int32_t (*fn_remove)(void *arg, struct instance *from, struct str ns, struct str name,
                         uint64_t generation);
    int32_t (*endpoints_set)(void *arg, struct instance *from, struct str ns, struct str name,
                             uint64_t generation, const struct fng_endpoint *endpoints,
                             size_t count);
    /* The instance's state or health changed. */
    void (*changed)(void *arg, struct instance *from);
};

struct plugins_config {
    struct loop *control;
    const char *state_dir;   /* instances get folders below plugins/ */
    const char *libexec_dir; /* fngate-supervisor and friends */
    unsigned control_threads, urgent_threads, read_threads,
        stream_threads;                        /* per instance: 4, 2, 4, 64 */
    unsigned queue_max;                        /* waiting calls per lane: 256 */
    int64_t start_timeout_ms, stop_timeout_ms; /* 30 s, 10 s */
    struct provider_sink sink;
};

/* All instances of one gateway. */
struct plugins *plugins_new(const struct plugins_config *config);
/* After the instance_stop of each started instance has reported. Those with threads still inside
 * foreign code are left alone. */
void plugins_free(struct plugins *plugins);

/* Makes an instance: load, bind `map` (its `config:`, may be NULL), config_complete. Complaints go
 * into the report with file and line. NULL after one. */
struct instance *instance_new(struct plugins *plugins, struct plugin *plugin, const char *name,
                              const struct conf_doc *doc, const struct conf_node *map, int line,
                              struct conf_report *report);
/* Likewise, for an instance that will take the place of `predecessor` and starts beside it: it has
 * its name and folder and, when the plugin is the same, its index, so that endpoints with the same
 * id go on as the same ones. */
struct instance *instance_new_successor(struct instance *predecessor, struct plugin *plugin,
                                        const struct conf_doc *doc, const struct conf_node *map,
                                        int line, struct conf_report *report);
/* Before it was started, or after it has stopped. */
void instance_free(struct instance *instance);
/* The store that the instance's kv services use; before start. */
void instance_set_store(struct instance *instance, struct instance *store);

enum instance_state {
    INSTANCE_CONFIGURED,
    INSTANCE_STARTING,
    INSTANCE_READY,
    INSTANCE_FAILED,
    INSTANCE_DRAINING,
    INSTANCE_STOPPED
};

struct plugin_result {
    int32_t error; /* FNG_* */
    struct str field;
    struct str text; /* says what failed; never empty on error; without the instance's name */
    uint32_t retry_after_ms;
    int64_t elapsed_ms;
};
typedef void plugin_done_f(void *arg, const struct plugin_result *result);

/* start; a provider's watch then runs until drain, again with back-off when it returns early. May
 * be called again after it failed. A start that overran and succeeds late leaves the instance
 * failed. */
void instance_start(struct instance *instance, plugin_done_f *done, void *arg);
/* drain, cancel what runs, wait, stop, unload: within stop_timeout_ms. `done` always comes; its
 * error is FNG_E_TIMEOUT when threads were left inside foreign code. drain and stop are not called
 * when start has not succeeded. */
void instance_stop(struct instance *instance, plugin_done_f *done, void *arg);

const char *instance_name(const struct instance *instance);
const struct fng_plugin *instance_descriptor(const struct instance *instance);
enum instance_state instance_state(const struct instance *instance);
/* FNG_HEALTH_* and why, as the plugin last said. */
uint32_t instance_health(const struct instance *instance, struct str *ret_why);
/* Small number, unique in `plugins` but for successors. */
uint32_t instance_index(const struct instance *instance);
void instance_set_user(struct instance *instance, void *user);
void *instance_user(const struct instance *instance);

struct instance_stats {
    uint64_t calls, errors, timeouts, late, refused;
    double seconds;
    unsigned waiting, running, stuck;
};
void instance_stats(const struct instance *instance, struct instance_stats *ret);
/* Figures that the plugin keeps through metric_add and metric_set: calls on_figure for each. */
void instance_figures(const struct instance *instance,
                      void (*on_figure)(void *arg, struct str name, double value, bool is_counter),
                      void *arg);

/* ---- Calls (plugin/call.c): the only way into foreign code. From the control loop; `done` comes
 * on the control loop, never from inside. deadline_ms 0: the class's default. A NULL operation
 * gives FNG_E_UNSUPPORTED, a full lane FNG_E_LIMIT with retry_after. ---- */

void provider_deploy(struct instance *instance, struct fn_spec *spec, int64_t deadline_ms,
                     plugin_done_f *done, void *arg);
void provider_update(struct instance *instance, struct fn_spec *spec, int64_t deadline_ms,
                     plugin_done_f *done, void *arg);
void provider_remove(struct instance *instance, struct str ns, struct str name, uint64_t generation,
                     int64_t deadline_ms, plugin_done_f *done, void *arg);
void provider_scale(struct instance *instance, struct str ns, struct str name, uint32_t replicas,
                    uint64_t generation, int64_t deadline_ms, plugin_done_f *done, void *arg);
void provider_activate(struct instance *instance, struct str ns, struct str name, uint32_t replicas,
                       uint64_t generation, int64_t deadline_ms, plugin_done_f *done, void *arg);
void provider_endpoint_released(struct instance *instance, uint64_t endpoint_id,
                                uint64_t generation);

typedef void names_done_f(void *arg, const struct plugin_result *result, const struct str *names,
                          size_t count);
void provider_secret_list(struct instance *instance, struct str ns, int64_t deadline_ms,
                          names_done_f *done, void *arg);
void provider_secret_set(struct instance *instance, struct str ns, struct str name,
                         struct str value, uint32_t mode, int64_t deadline_ms, plugin_done_f *done,
                         void *arg);
void provider_secret_remove(struct instance *instance, struct str ns, struct str name,
                            int64_t deadline_ms, plugin_done_f *done, void *arg);

typedef void usage_done_f(void *arg, const struct plugin_result *result,
                          const struct fng_usage *usage);
void provider_usage(struct instance *instance, struct str ns, struct str name, int64_t deadline_ms,
                    usage_done_f *done, void *arg);

/* Logs: on_line runs on the stream thread and may block; `done` on the control loop. The ticket
 * cancels: on_line's caller stops soon, and done comes within 5 s unless on_line itself blocks. The
 * ticket is void once done ran. */
struct plugin_ticket;
struct plugin_ticket *provider_logs(struct instance *instance, const struct fng_log_query *query,
                                    fng_log_line_f *on_line, void *line_arg, plugin_done_f *done,
                                    void *arg);
void plugin_cancel(struct plugin_ticket *ticket);

/* Store, for the core's own keys (below "core/"). Value copied for the call; on `get`, value is
 * borrowed by done. */
typedef void value_done_f(void *arg, const struct plugin_result *result, struct str value,
                          uint64_t version);
void store_get(struct instance *store, struct str key, value_done_f *done, void *arg);
void store_put(struct instance *store, struct str key, struct str value, uint64_t expected,
               value_done_f *done, void *arg);
void store_remove(struct instance *store, struct str key, uint64_t expected, plugin_done_f *done,
                  void *arg);
struct store_entry {
    struct str key, value;
    uint64_t version;
};
typedef void entries_done_f(void *arg, const struct plugin_result *result,
                            const struct store_entry *entries, size_t count);
void store_list(struct instance *store, struct str prefix, entries_done_f *done, void *arg);

#endif

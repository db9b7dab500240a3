/* A case of a conformance suite, and what it may use. A case runs in a process of its own and
 * returns when the plugin has behaved; CHECK ends it with a sentence. */
#ifndef CHECK_CASE_H
#define CHECK_CASE_H

#include "host.h"
#include "settings.h"
#include "util.h"

#include <fngate/plugin.h>

/* What the command line says. */
struct options {
    const char *file;
    const char *libexec_dir;
    struct settings settings; /* configuration of the plugin */
    struct settings function; /* "annotation" and "env" pairs of the deployed function */
    const char *image;        /* of the deployed function */
    const char *env_process;  /* likewise */
    const char *bad_image;    /* one that cannot run, or NULL */
    int64_t wait_ms;          /* how long something promised may take */
    int64_t limit_ms;         /* after which a case counts as hanging */
    bool is_slow;             /* with --slow: more rounds */
    bool is_loud;             /* with -v: the plugin's log */
};

struct case_context {
    const struct options *options;
    const struct fng_plugin *plugin;
    const char *dir; /* empty folder of this case */
};

struct check_case {
    const char *name; /* "store/put-then-get" */
    void (*run)(struct case_context *context);
    /* Why the plugin need not pass it, or NULL: it must. May be NULL itself. */
    const char *(*skip)(const struct fng_plugin *plugin);
};

struct suite {
    const struct check_case *cases;
    size_t count;
};

extern const struct suite life_suite;
extern const struct suite store_suite;
extern const struct suite provider_suite;

/* End the case; from any of its threads. */
void case_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void case_skip(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* In the child process of a case: where the outcome goes to. */
void case_set_outcome_fd(int fd);
/* The case is over and all was well. Ends the process. */
void case_pass(void) __attribute__((noreturn));

#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition))                                                                          \
            case_fail(__VA_ARGS__);                                                                \
    } while (0)

/* ---- Outcomes, as the parent sees them ---- */

enum outcome_kind { OUTCOME_OK, OUTCOME_FAILED, OUTCOME_SKIPPED };

struct outcome {
    enum outcome_kind kind;
    char text[1024];
};

/* Runs a case in a child process; whatever it started is gone afterwards. */
struct outcome case_run(const struct check_case *one, const struct options *options,
                        const struct fng_plugin *plugin);

/* ---- The plugin under test, inside a case ---- */

/* A started instance with a host, its state folder being `name` below the case's folder. Ends the
 * case when the plugin refuses. */
struct instance *case_start(struct case_context *context, const char *name, struct kv *kv,
                            struct view *view);
/* drain, stop, unload; frees. */
void case_stop(struct instance *instance);
/* Only opened: load, configuration, config_complete. */
struct instance *case_open(struct case_context *context, const char *name, struct kv *kv,
                           struct view *view);
void case_close(struct instance *instance);

const char *error_name(int32_t error);

/* Runs `body` on `count` threads at once, with index and arg, and waits for them. */
void run_threads(unsigned count, void (*body)(unsigned index, void *arg), void *arg);

/* Open descriptors and threads of this process. */
unsigned count_descriptors(void);
unsigned count_threads(void);
/* Threads beyond `before`, once those that were joined have left the process table too. */
unsigned threads_left(unsigned before);

#endif

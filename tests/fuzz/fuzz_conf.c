/* Fuzz target of the configuration: any text is read, bound or complained about, and freed. */
#include "conf/conf.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct target {
    struct str text;
    int32_t flag;
    int64_t number, duration_ms;
    uint64_t bytes;
    struct conf_str_list list;
    struct conf_pair_list pairs;
    const struct conf_node *any;
};

#define KEY(key_name, key_type, member)                                                            \
    {                                                                                              \
        .name = key_name, .type = key_type, .offset = offsetof(struct target, member)              \
    }

static const struct conf_key keys[] = {
    KEY("state_dir", CONF_STR, text),    KEY("strict", CONF_BOOL, flag),
    KEY("workers", CONF_INT, number),    KEY("timeout", CONF_DURATION, duration_ms),
    KEY("bytes", CONF_SIZE, bytes),      KEY("listen", CONF_STRS, list),
    KEY("functions", CONF_PAIRS, pairs), KEY("providers", CONF_ANY, any),
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct conf_report report;
    struct conf_doc *doc;
    struct target target = {0};
    struct pool pool;

    conf_report_init(&report);
    pool_init(&pool, 0);
    doc = conf_read_text("fuzz.yaml", str_make((const char *)data, size), &report);
    if (doc) {
        conf_bind(doc, doc->root, keys, sizeof(keys) / sizeof(keys[0]), "fuzz", &target, &pool,
                  &report);
        conf_doc_free(doc);
    }
    pool_free(&pool);
    conf_report_free(&report);
    return 0;
}

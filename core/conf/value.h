/* One value of a key: from a node or a text to its typed form, with bounds checked. */
#ifndef CONF_VALUE_H
#define CONF_VALUE_H

#include "conf/conf.h"

struct conf_value {
    union {
        struct str str;
        int32_t boolean;
        int64_t integer; /* INT, DURATION */
        uint64_t size;
        struct conf_str_list strs;
        struct conf_pair_list pairs;
        const struct conf_node *node;
    } as;
};

size_t conf_value_size(enum conf_type type);
/* 0, or -EINVAL with a text that goes on after the key's name: "must be ...". */
int conf_value_of(const struct conf_key *key, const struct conf_node *node, struct pool *pool,
                  struct conf_value *ret, struct err *err);
/* The same from one line of text: a default, or an environment variable. */
int conf_value_parse(const struct conf_key *key, struct str text, struct pool *pool,
                     struct conf_value *ret, struct err *err);
/* "a duration between 1ms and 60s", as complaints and descriptions say it. */
void conf_value_expected(const struct conf_key *key, struct buf *out);

#endif

/* The cases of the store suite, by what they are about. */
#ifndef CHECK_STORE_CASES_H
#define CHECK_STORE_CASES_H

#include "store_calls.h"

/* store_values.c: single calls, listings, and what keys and values may be. */
void case_get_missing(struct case_context *context);
void case_put_then_get(struct case_context *context);
void case_put_replaces(struct case_context *context);
void case_put_without_version_pointer(struct case_context *context);
void case_create_only(struct case_context *context);
void case_cas_accepts_the_stored_version(struct case_context *context);
void case_cas_refuses_an_old_version(struct case_context *context);
void case_cas_refuses_a_missing_key(struct case_context *context);
void case_versions_differ(struct case_context *context);
void case_remove_then_get(struct case_context *context);
void case_remove_missing(struct case_context *context);
void case_remove_refuses_an_old_version(struct case_context *context);
void case_list_empty(struct case_context *context);
void case_list_in_byte_order(struct case_context *context);
void case_list_by_prefix(struct case_context *context);
void case_list_after_a_key(struct case_context *context);
void case_list_in_pages(struct case_context *context);
void case_list_stops(struct case_context *context);
void case_values_are_bytes(struct case_context *context);
void case_value_may_be_empty(struct case_context *context);
void case_value_of_1_mib(struct case_context *context);
void case_value_too_large(struct case_context *context);
void case_key_limits(struct case_context *context);
void case_keys_are_bytes(struct case_context *context);
void case_errors_have_texts(struct case_context *context);

/* store_life.c: many threads, restarts and kills, sharing, leases. */
void case_counters_of_8_threads(struct case_context *context);
void case_values_are_never_mixed(struct case_context *context);
void case_one_creator_wins(struct case_context *context);
void case_durable_after_restart(struct case_context *context);
void case_durable_after_kill(struct case_context *context);
void case_versions_differ_across_restarts(struct case_context *context);
void case_stop_under_load(struct case_context *context);
void case_two_instances_share(struct case_context *context);
void case_lease_excludes_others(struct case_context *context);
void case_lease_can_be_given_up(struct case_context *context);
void case_lease_ends(struct case_context *context);
void case_lease_survives_restart(struct case_context *context);
void case_lease_has_one_winner(struct case_context *context);
const char *skip_unless_shared(const struct fng_plugin *plugin);
const char *skip_without_lease(const struct fng_plugin *plugin);

#endif

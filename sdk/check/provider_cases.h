/* The cases of the provider suite, by what they are about. */
#ifndef CHECK_PROVIDER_CASES_H
#define CHECK_PROVIDER_CASES_H

#include "session.h"

/* provider_deploy.c: what is deployed, updated and removed is told and answers. */
void case_snapshot_is_committed(struct case_context *context);
void case_snapshot_only_adds(struct case_context *context);
void case_deploy_is_told(struct case_context *context);
void case_deploy_becomes_ready(struct case_context *context);
void case_addresses_parse(struct case_context *context);
void case_endpoints_quote_known_generation(struct case_context *context);
void case_deploy_twice_is_harmless(struct case_context *context);
void case_deploy_refuses_older_generation(struct case_context *context);
void case_failure_is_explained(struct case_context *context);
void case_update_is_told(struct case_context *context);
void case_update_of_unknown(struct case_context *context);
void case_remove_of_unknown(struct case_context *context);
void case_remove_is_told(struct case_context *context);
void case_late_delta_after_remove(struct case_context *context);
void case_deploy_after_remove(struct case_context *context);
void case_operations_on_8_threads(struct case_context *context);

/* provider_scale.c: replicas, their ids, and how they go. */
void case_scale_to_three(struct case_context *context);
void case_scale_to_zero(struct case_context *context);
void case_deploy_at_zero(struct case_context *context);
void case_activate_from_zero(struct case_context *context);
void case_activate_twice_is_harmless(struct case_context *context);
void case_activate_while_draining(struct case_context *context);
void case_ids_are_distinct(struct case_context *context);
void case_ids_are_never_reused(struct case_context *context);
void case_not_killed_before_release(struct case_context *context);
void case_goes_after_release(struct case_context *context);
void case_remove_waits_for_requests(struct case_context *context);

/* provider_life.c: watch, restarts, leaks. */
void case_watch_ends_when_cancelled(struct case_context *context);
void case_watch_again_resyncs(struct case_context *context);
void case_restart_finds_functions(struct case_context *context);
void case_restart_keeps_spec(struct case_context *context);
void case_restart_keeps_scale(struct case_context *context);
void case_restart_forgets_removed(struct case_context *context);
void case_restart_after_kill(struct case_context *context);
void case_stop_within_limit(struct case_context *context);
void case_silent_after_stop(struct case_context *context);
void case_no_thread_left_after_stop(struct case_context *context);
void case_no_descriptor_leak(struct case_context *context);
void case_memory_is_bounded(struct case_context *context);

/* provider_extras.c: logs, secrets, usage, namespaces. */
void case_logs_end_without_follow(struct case_context *context);
void case_logs_follow_ends_when_cancelled(struct case_context *context);
void case_logs_stop_when_nobody_reads(struct case_context *context);
void case_logs_tail(struct case_context *context);
void case_logs_since(struct case_context *context);
void case_logs_follow_through_zero(struct case_context *context);
void case_secret_create_twice(struct case_context *context);
void case_secret_update_of_unknown(struct case_context *context);
void case_secret_list(struct case_context *context);
void case_secret_missing_at_deploy(struct case_context *context);
void case_usage_is_told(struct case_context *context);
void case_namespaces(struct case_context *context);
const char *needs_logs(const struct fng_plugin *plugin);
const char *needs_logs_and_scale_to_zero(const struct fng_plugin *plugin);
const char *needs_secrets(const struct fng_plugin *plugin);
const char *needs_secrets_and_deploy(const struct fng_plugin *plugin);
const char *needs_usage(const struct fng_plugin *plugin);
const char *needs_namespaces(const struct fng_plugin *plugin);

#endif

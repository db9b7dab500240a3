/* JSON bodies: reading with the tolerance that clients need (null labels, unknown fields) and
 * errors that name the field; writing function states. jansson shows here and in the resources
 * only. */
#ifndef API_JSON_H
#define API_JSON_H

#include "api/request.h"

#include <jansson.h>

/* The request's body as a JSON object, NULL after a 400 was answered. The caller frees it. */
json_t *json_body(struct request *request);

/* A string member: empty when absent or null. False after a 400 was answered. */
bool json_text(struct request *request, const json_t *object, const char *field, struct str *ret);

/* The fields of a FunctionDeployment, borrowed from `object` and the request's pool. False after a
 * 400 was answered. */
bool json_function(struct request *request, const json_t *object, struct fng_function *ret);

/* A map of strings (labels, annotations): empty when absent or null. */
bool json_pairs(struct request *request, const json_t *object, const char *field,
                struct fng_kv_list *ret);

/* A FunctionStatus object. usage may be NULL. */
json_t *json_of_function(const struct catalog_fn *fn, const struct fng_usage *usage);
json_t *json_of_pairs(const struct fng_kv_list *pairs);

/* Answers with the value, which is freed. */
void json_reply(struct request *request, unsigned status, json_t *value);

#endif

/* Suite of the provider kind: the promises of fngate/provider.h. */
#include "case.h"

const struct suite provider_suite = {NULL, 0};

/* The fault table as data. */
#include "proxy/fault.h"

const struct fault_info fault_table[FAULT_COUNT] = {
#define X(NAME, name, status, layer, retry, hint)                                                  \
    [FAULT_##NAME] = {name, status, layer, retry, hint},
    FAULT_TABLE(X)
#undef X
};

/* Kubernetes quantities: a decimal number with a binary, decimal or exponent suffix. */
#include "process.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *suffix;
    double factor;
} suffixes[] = {{"", 1},        {"n", 1e-9},    {"u", 1e-6},       {"m", 1e-3},
                {"k", 1e3},     {"M", 1e6},     {"G", 1e9},        {"T", 1e12},
                {"P", 1e15},    {"Ki", 1024.0}, {"Mi", 1048576.0}, {"Gi", 1073741824.0},
                {"Ti", 0x1p40}, {"Pi", 0x1p50}};

bool quantity_parse(const char *text, double *ret)
{
    char *end;
    double value;

    if (strspn(text, "0123456789.") == 0)
        return false;
    value = strtod(text, &end);
    if (strpbrk(text, "xXpP") && !strchr(end, 'P'))
        return false; /* strtod takes hexadecimal too */
    for (size_t i = 0; i < COUNT_OF(suffixes); i++) {
        if (strcmp(end, suffixes[i].suffix) != 0)
            continue;
        *ret = value * suffixes[i].factor;
        return isfinite(*ret);
    }
    return false;
}

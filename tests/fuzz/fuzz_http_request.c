/* Any bytes as requests, also several in a row. */
#include "oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const struct reading reading = {.is_request = true};
    struct str input = str_make((const char *)bytes, len);

    check_cuts(&reading, input);
    check_rewrite(&reading, input);
    return 0;
}

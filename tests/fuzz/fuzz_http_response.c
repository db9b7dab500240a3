/* Any bytes as responses: to a GET, to a HEAD, to an upgrade. */
#include "oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const struct reading readings[] = {
        {false, HTTP_GET, false}, {false, HTTP_HEAD, false}, {false, HTTP_GET, true}};
    struct str input = str_make((const char *)bytes, len);

    for (size_t i = 0; i < sizeof(readings) / sizeof(readings[0]); i++) {
        check_cuts(&readings[i], input);
        check_rewrite(&readings[i], input);
    }
    return 0;
}

/* docs/openapi.yaml, carried in the executable: what is served always fits the build. */
#include "app/gateway_internal.h"

__asm__(".pushsection .rodata\n"
        ".type openapi_bytes, %object\n"
        "openapi_bytes:\n"
        ".incbin \"" OPENAPI_FILE "\"\n"
        ".byte 0\n"
        ".size openapi_bytes, .-openapi_bytes\n"
        ".popsection\n");

extern const char openapi_bytes[];

const char *openapi_text(void)
{
    return openapi_bytes;
}

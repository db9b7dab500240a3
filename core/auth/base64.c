/* Base64 decoding: four characters to three bytes; the last group may be padded. */
#include "auth/base64.h"

static int sextet(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool base64_decode(struct str text, void *out, size_t *ret_len)
{
    unsigned char *to = out;
    size_t pad = 0, count = 0;
    uint32_t bits = 0;

    if (text.len % 4 != 0)
        return false;
    while (pad < 2 && pad < text.len && text.ptr[text.len - pad - 1] == '=')
        pad++;
    for (size_t i = 0; i < text.len; i++) {
        int value = i < text.len - pad ? sextet(text.ptr[i]) : 0;

        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        if (i % 4 != 3)
            continue;
        to[count++] = (unsigned char)(bits >> 16);
        if (i + 1 < text.len || pad < 2)
            to[count++] = (unsigned char)(bits >> 8);
        if (i + 1 < text.len || pad < 1)
            to[count++] = (unsigned char)bits;
        /* Bits that fall away with the padding must be zero: one text for each value. */
        if (i + 1 == text.len && pad && (bits & (pad == 1 ? 0xff : 0xffff)))
            return false;
        bits = 0;
    }
    *ret_len = count;
    return true;
}

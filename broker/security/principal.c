#include "broker/security/principal.h"

#include <string.h>

bool principal_parse(struct str text, struct principal *principal)
{
    const char *colon = text.len == 0 ? NULL : memchr(text.data, ':', text.len);
    size_t type_len = colon == NULL ? 0 : (size_t)(colon - text.data);
    if (type_len == 0 || type_len + 1 == text.len) {
        return false;
    }
    principal->type = (struct str){.data = text.data, .len = type_len};
    principal->name = (struct str){.data = colon + 1, .len = text.len - type_len - 1};
    return true;
}

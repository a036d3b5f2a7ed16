#include "base/refuse.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void refuse_name(char *reason, size_t size, const char *first, const char *between, struct str name)
{
    size_t len = strlen(reason);
    (void)snprintf(reason + len, size - len, "%s%.*s", len == 0 ? first : between, (int)name.len,
                   name.data);
}

err refuse_with(err code, char *reason, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(reason, size, format, args);
    va_end(args);
    return code;
}

err refuse(char *reason, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(reason, size, format, args);
    va_end(args);
    return E_CONFIG;
}

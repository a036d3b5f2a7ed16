#include "base/refuse.h"

#include <stdarg.h>
#include <stdio.h>

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

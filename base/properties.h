/* Java properties: the format of server.properties and meta.properties. */
#ifndef OTTLA_BASE_PROPERTIES_H
#define OTTLA_BASE_PROPERTIES_H

#include "base/err.h"

#include <stddef.h>

struct property {
    char *name;
    char *value;
};

/* In file order; a name set again replaces the value in its place. */
struct properties {
    struct property *items;
    size_t count;
    size_t cap;
};

void properties_init(struct properties *properties);
void properties_deinit(struct properties *properties);
/* Comments, continuation lines, escapes and the three separators, as java.util.Properties reads
 * them. E_MALFORMED for a broken \u escape, with its line in *line. */
NODISCARD err properties_parse(struct properties *properties, const char *text, size_t len,
                               int *line);
/* NULL when absent. */
const char *properties_get(const struct properties *properties, const char *name);
void properties_set(struct properties *properties, const char *name, const char *value);
void properties_remove(struct properties *properties, const char *name);

#endif

/* Who somebody is: a type and a name, as text "User:alice". Types and names count with case. (reference:
 * security §2, §4) */
#ifndef OTTLA_BROKER_SECURITY_PRINCIPAL_H
#define OTTLA_BROKER_SECURITY_PRINCIPAL_H

#include "base/bytes.h"

#include <stdbool.h>

#define PRINCIPAL_USER      "User" /* the type of everybody who connects */
#define PRINCIPAL_ANONYMOUS "ANONYMOUS"

struct principal {
    struct str type;
    struct str name;
};

/* "type:name", each not empty; the name may have colons. What is returned points into the text. */
bool principal_parse(struct str text, struct principal *principal);
static inline bool principal_equals(const struct principal *a, const struct principal *b)
{
    return str_equal(a->type, b->type) && str_equal(a->name, b->name);
}

#endif

/* What an API needs, one row of a column of api.def; for authorize.c, and for the checks that are no row. */
#ifndef OTTLA_BROKER_API_AUTHORIZE_NEEDS_H
#define OTTLA_BROKER_API_AUTHORIZE_NEEDS_H

#include "broker/api/authorize.h"

enum need_how {
    NEED_NOTHING,
    NEED_ONE,   /* for the whole request */
    NEED_EACH,  /* for each element of an array, which are refused one by one */
    NEED_CHECK, /* a function's */
};

struct need {
    enum need_how how;
    enum acl_operation operation;
    enum acl_type type;
    const char *
        field; /* of the request, that has the name, or the array; without one the need is not there. NULL: always */
    const char *name;              /* of an element, its name */
    enum acl_operation or_cluster; /* this on the cluster will do as well; 0: nothing will */
    bool
        by_resource; /* an element says by its first number what it is: a topic, or of the cluster */
    bool inside;     /* struct refusal */
    bool flat;
    const char *echoed;
    enum authorized (*check)(struct req *r);
};

/* All of the request is refused for want of it. */
enum authorized authorize_refuse(struct req *r, const struct need *need);
enum authorized authorize_one(struct req *r, const struct need *need);
enum authorized authorize_each(struct req *r, const struct need *need);

/* ---- authorize_checks.c ---- */

enum authorized check_produce(struct req *r);
enum authorized check_find_coordinator(struct req *r);
enum authorized check_init_producer_id(struct req *r);

#endif

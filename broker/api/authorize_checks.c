/* Needs that depend on more than a name. */
#include "broker/api/authorize_needs.h"

#include "broker/api/produce_verify.h"

static bool has_transactions(const struct produce_request *in)
{
    for (int32_t t = 0; t < in->topics_n; t++) {
        for (int32_t i = 0; i < in->topics[t].partitions_n; i++) {
            struct batch batch;
            if (produce_batch_of(in->topics[t].partitions[i].records.data, &batch)) {
                return true;
            }
        }
    }
    return false;
}

/* Some batch in it is of a transaction: then the id is needed, which may not be missing either. Without an answer the
 * client is told by a closed connection. A batch must not get past by not naming its id. (reference: hardening §3) */
enum authorized check_produce(struct req *r)
{
    static const struct need NEED = {.how = NEED_ONE,
                                     .operation = ACL_WRITE,
                                     .type = ACL_TRANSACTIONAL_ID,
                                     .field = "transactional_id"};
    const struct produce_request *in = r->in;
    r->no_answer = in->acks == 0;
    if (!has_transactions(in)) {
        return AUTHORIZED;
    }
    return in->transactional_id.data == NULL ? authorize_refuse(r, &NEED) : authorize_one(r, &NEED);
}

/* What is looked for says whose ACLs count. */
enum authorized check_find_coordinator(struct req *r)
{
    static const enum acl_type TYPES[] = {ACL_GROUP, ACL_TRANSACTIONAL_ID, ACL_CLUSTER};
    const struct find_coordinator_request *in = r->in;
    if (in->key_type < 0 || (size_t)in->key_type >= sizeof(TYPES) / sizeof(TYPES[0])) {
        return AUTHORIZED; /* the handler refuses it */
    }
    struct need need = {.operation = ACL_DESCRIBE, .type = TYPES[in->key_type], .field = "key"};
    if (need.type == ACL_CLUSTER) {
        need = (struct need){.operation = ACL_CLUSTER_ACTION, .type = ACL_CLUSTER};
    }
    struct need each = {
        .operation = need.operation, .type = need.type, .field = "coordinator_keys", .name = ""};
    enum { FIRST_BATCHED_VERSION = 4 };
    return r->version < FIRST_BATCHED_VERSION ? authorize_one(r, &need) : authorize_each(r, &each);
}

/* Who may write to some topic may also be an idempotent producer. */
enum authorized check_init_producer_id(struct req *r)
{
    static const struct need TRANSACTIONAL = {
        .operation = ACL_WRITE, .type = ACL_TRANSACTIONAL_ID, .field = "transactional_id"};
    static const struct need IDEMPOTENT = {.operation = ACL_IDEMPOTENT_WRITE, .type = ACL_CLUSTER};
    const struct init_producer_id_request *in = r->in;
    if (in->transactional_id.data != NULL) {
        return authorize_one(r, &TRANSACTIONAL);
    }
    return req_sees(r, ACL_IDEMPOTENT_WRITE, ACL_CLUSTER, STR(ACL_CLUSTER_NAME)) ||
                   asker_may_any(r->asker, ACL_WRITE, ACL_TOPIC)
               ? AUTHORIZED
               : authorize_refuse(r, &IDEMPOTENT);
}

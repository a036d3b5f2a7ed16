/* ListTransactions: the transactional ids that this broker coordinates (KIP-664, KIP-994). (reference:
 * coordinators §4.10) */
#include "broker/api/authorize.h"
#include "broker/broker.h"
#include "broker/coordinator/txn_shard.h"

typedef struct list_transactions_response_transaction_state state_out;

struct listing {
    struct req *r;
    size_t room;
    uint32_t states;      /* that are wanted, by bits */
    struct map producers; /* the same; empty: all */
};

/* Kafka knows this state too, though nothing is ever seen in it. */
static bool is_state_name(struct str name)
{
    for (int state = 0; state < TXN_STATES; state++) {
        if (str_is(name, txn_state_name((enum txn_state)state))) {
            return true;
        }
    }
    return str_is(name, "PrepareEpochFence");
}

static bool is_wanted(const struct listing *listing, const struct txn *txn, int64_t now_ms)
{
    const struct list_transactions_request *in = listing->r->in;
    const struct txn_values *is = &txn->is;
    bool long_enough = in->duration_filter < 0 || now_ms - is->start_ms > in->duration_filter;
    bool producer =
        listing->producers.count == 0 || map_get_i64(&listing->producers, is->producer_id) != NULL;
    return txn->pending != TXN_DEAD && (listing->states & 1u << is->state) != 0 && producer &&
           long_enough;
}

/* What is asked for, so that it need not be looked through for each id. */
static void read_filters(struct listing *listing)
{
    const struct list_transactions_request *in = listing->r->in;
    listing->states = in->state_filters_n == 0 ? UINT32_MAX : 0;
    for (int32_t i = 0; i < in->state_filters_n; i++) {
        for (int state = 0; state < TXN_STATES; state++) {
            bool named = str_is(in->state_filters[i], txn_state_name((enum txn_state)state));
            listing->states |= named ? 1u << state : 0;
        }
    }
    map_init(&listing->producers);
    for (int32_t i = 0; i < in->producer_id_filters_n; i++) {
        (void)map_set_i64(&listing->producers, in->producer_id_filters[i], listing);
    }
}

/* Room for the ids of one more shard, by doubling: the arena frees nothing. */
static bool reserve(struct listing *listing, size_t more)
{
    struct list_transactions_response *out = listing->r->out;
    size_t count = (size_t)out->transaction_states_n;
    if (count + more <= listing->room) {
        return true;
    }
    size_t room = count + more > listing->room * 2 ? count + more : listing->room * 2;
    state_out *states = arena_array(&listing->r->arena, room, sizeof(*states));
    if (states != NULL && count > 0) {
        memcpy(states, out->transaction_states, count * sizeof(*states));
    }
    out->transaction_states = states == NULL ? out->transaction_states : states;
    listing->room = states == NULL ? listing->room : room;
    return states != NULL;
}

static void list_shard(struct shard *base, void *context)
{
    struct listing *listing = context;
    const struct txn_shard *shard = txn_shard_of(base);
    struct list_transactions_response *out = listing->r->out;
    if (!reserve(listing, shard->txns.count)) {
        out->error_code = ERR_UNKNOWN_SERVER_ERROR;
        return;
    }
    int64_t now_ms = shard_now_ms(base);
    map_each (entry, &shard->txns) {
        const struct txn *txn = entry->value;
        if (is_wanted(listing, txn, now_ms) &&
            req_sees(listing->r, ACL_DESCRIBE, ACL_TRANSACTIONAL_ID, txn->id)) {
            state_out *state = &out->transaction_states[out->transaction_states_n++];
            list_transactions_response_transaction_state_init(state);
            state->transactional_id = arena_str(&listing->r->arena, txn->id);
            state->producer_id = txn->is.producer_id;
            state->transaction_state = str_of(txn_state_name(txn->is.state));
        }
    }
}

/* Each once. */
static void name_unknown_states(struct req *r)
{
    const struct list_transactions_request *in = r->in;
    struct list_transactions_response *out = r->out;
    struct map unknown;
    map_init(&unknown);
    out->unknown_state_filters =
        req_array(r, in->state_filters_n, sizeof(*out->unknown_state_filters));
    for (int32_t i = 0; out->unknown_state_filters != NULL && i < in->state_filters_n; i++) {
        struct str filter = in->state_filters[i];
        if (!is_state_name(filter) && map_set_str(&unknown, filter, out) == NULL) {
            out->unknown_state_filters[out->unknown_state_filters_n++] = filter;
        }
    }
    map_deinit(&unknown);
}

/* With none but unknown states nothing is listed. */
enum req_status handle_list_transactions(struct req *r)
{
    struct list_transactions_response *out = r->out;
    struct listing listing = {.r = r};
    name_unknown_states(r);
    read_filters(&listing);
    err e = shards_each(&r->broker->txns->shards, list_shard, &listing);
    map_deinit(&listing.producers);
    if (e != OK) {
        out->transaction_states_n = 0;
        out->error_code = kafka_error_wire(e);
    }
    return REQ_DONE;
}

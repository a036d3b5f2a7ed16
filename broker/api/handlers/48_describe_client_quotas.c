/* DescribeClientQuotas: the limits of users, clients and addresses that match a filter. An entity matches when each
 * part that the filter names is there and matches; with `strict` it has no others. (reference: requests §7.3, security §5) */
#include "base/refuse.h"
#include "broker/broker.h"

typedef struct describe_client_quotas_request_component component_in;
typedef struct describe_client_quotas_response_entry entry_out;

enum { PARTS = 3, WORDS_BYTES = 160 };
enum match_type { MATCH_EXACT, MATCH_DEFAULT, MATCH_SPECIFIED };

static const char *const TYPES[PARTS] = {"user", "client-id", "ip"};

struct search {
    struct req *r;
    const component_in *sought[PARTS]; /* NULL: the filter does not name the part */
    bool strict;
    int32_t found_n;
    bool failed; /* no memory */
};

/* ---- the filter ---- */

static int type_of(struct str name)
{
    int i = 0;
    while (i < PARTS && !str_is(name, TYPES[i])) {
        i++;
    }
    return i;
}

static err read_component(struct search *s, const component_in *in, char words[WORDS_BYTES])
{
    static const char *const SHORT[PARTS] = {"user", "client", "ip"};
    int type = type_of(in->entity_type);
    if (in->entity_type.len == 0) {
        return refuse_with(ERR_INVALID_REQUEST, words, WORDS_BYTES,
                           "Unexpected empty filter component entity type");
    }
    if (type == PARTS) {
        return refuse_with(
            ERR_UNSUPPORTED_VERSION, words, WORDS_BYTES, "Custom entity type '%.*s' not supported",
            (int)(in->entity_type.len > 64 ? 64 : in->entity_type.len), in->entity_type.data);
    }
    if (s->sought[type] != NULL) {
        return refuse_with(ERR_INVALID_REQUEST, words, WORDS_BYTES,
                           "Duplicate %s filter component entity type", SHORT[type]);
    }
    bool asks_exactly = in->match_type == MATCH_EXACT;
    if (in->match_type < MATCH_EXACT || in->match_type > MATCH_SPECIFIED ||
        asks_exactly != (in->match.data != NULL)) {
        return refuse_with(ERR_INVALID_REQUEST, words, WORDS_BYTES,
                           "Unexpected match type or match of a filter component");
    }
    s->sought[type] = in;
    return OK;
}

static err read_filter(struct search *s, const struct describe_client_quotas_request *in,
                       char words[WORDS_BYTES])
{
    for (int32_t i = 0; i < in->components_n; i++) {
        TRY(read_component(s, &in->components[i], words));
    }
    if (s->sought[2] != NULL && (s->sought[0] != NULL || s->sought[1] != NULL)) {
        return refuse_with(ERR_INVALID_REQUEST, words, WORDS_BYTES,
                           "Invalid entity filter component combination, IP filter component "
                           "should not be used with user or clientId filter component.");
    }
    return OK;
}

/* ---- matching ---- */

static bool part_matches(const struct search *s, const component_in *sought,
                         const struct entity_part *part)
{
    if (sought == NULL) {
        return part->kind == ENTITY_NONE || !s->strict;
    }
    switch (sought->match_type) {
    case MATCH_EXACT:
        return part->kind == ENTITY_NAMED && str_equal(part->name, sought->match);
    case MATCH_DEFAULT:
        return part->kind == ENTITY_DEFAULT;
    default:
        return part->kind != ENTITY_NONE;
    }
}

/* Without any part in the filter all entities match, strictly none. */
static bool matches(const struct search *s, const struct client_entity *entity)
{
    return part_matches(s, s->sought[0], &entity->user) &&
           part_matches(s, s->sought[1], &entity->client) &&
           part_matches(s, s->sought[2], &entity->ip);
}

static void count_one(void *context, const struct client_entity *entity,
                      const struct quota_limits *limits)
{
    struct search *s = context;
    (void)limits;
    s->found_n += matches(s, entity) ? 1 : 0;
}

/* ---- the answer ---- */

static void tell_part(struct search *s, entry_out *out, const char *type,
                      const struct entity_part *part)
{
    if (part->kind != ENTITY_NONE) {
        out->entity[out->entity_n++] = (struct describe_client_quotas_response_entity){
            .entity_type = str_of(type),
            .entity_name = part->kind == ENTITY_DEFAULT ? (struct str){0}
                                                        : arena_str(&s->r->arena, part->name)};
    }
}

static void tell_one(void *context, const struct client_entity *entity,
                     const struct quota_limits *limits)
{
    struct search *s = context;
    struct describe_client_quotas_response *response = s->r->out;
    if (!matches(s, entity) || response->entries_n == s->found_n || s->failed) {
        return;
    }
    entry_out *out = &response->entries[response->entries_n];
    describe_client_quotas_response_entry_init(out);
    out->entity = req_array(s->r, PARTS, sizeof(*out->entity));
    out->values = req_array(s->r, QUOTA_TYPES, sizeof(*out->values));
    if (out->entity == NULL || out->values == NULL) {
        s->failed = true;
        return;
    }
    response->entries_n++;
    tell_part(s, out, TYPES[0], &entity->user);
    tell_part(s, out, TYPES[1], &entity->client);
    tell_part(s, out, TYPES[2], &entity->ip);
    for (int i = 0; i < QUOTA_TYPES; i++) {
        if (limits->limit[i] >= 0) {
            out->values[out->values_n++] = (struct describe_client_quotas_response_value){
                .key = str_of(QUOTA_KEYS[i].name), .value = limits->limit[i]};
        }
    }
}

enum req_status handle_describe_client_quotas(struct req *r)
{
    const struct describe_client_quotas_request *in = r->in;
    struct describe_client_quotas_response *out = r->out;
    struct search search = {.r = r, .strict = in->strict};
    char words[WORDS_BYTES] = "";
    err e = read_filter(&search, in, words);
    if (e != OK) {
        out->error_code = kafka_error_wire(e);
        out->error_message = arena_str(&r->arena, str_of(words));
        out->entries_n = -1;
        return REQ_DONE;
    }
    quotas_each(r->broker->quotas, &search, count_one);
    out->entries = req_array(r, search.found_n, sizeof(*out->entries));
    if (out->entries == NULL && search.found_n > 0) {
        return REQ_CLOSE;
    }
    quotas_each(r->broker->quotas, &search, tell_one);
    return search.failed ? REQ_CLOSE : REQ_DONE;
}

/* Every API of api.def in every version, asked by somebody who may do nothing: the request is made of the schema, one element
 * in each array; the answer must be one that can be encoded, with codes that its schema lists. Which code belongs where is
 * in interop-tests/acls/. */
#include "broker/api/authorize.h"

#include "base/tests/suite.h"
#include "broker/broker.h"
#include "protocol/refusal.h"
#include "protocol/table.h"

enum { ARENA_BYTES = 16 << 20 };

static struct {
    struct broker broker;
    struct api_loop home;
    const struct session *session;
    int refused; /* requests that were answered here */
} t;

/* ---- requests ---- */

static void fill(struct arena *arena, const struct shape *shape, int version, uint8_t *out)
{
    memcpy(out, shape->defaults, shape->size);
    for (size_t i = 0; i < shape->fields_n; i++) {
        const struct field *field = &shape->fields[i];
        if (!field_in_version(field, version)) {
            continue;
        }
        struct str text = STR("name");
        if ((field->flags & FIELD_ARRAY) != 0) {
            uint8_t *element = arena_alloc(arena, field_element_size(field));
            int32_t one = 1;
            if (field->type == FIELD_STRUCT) {
                fill(arena, field->shape, version, element);
            } else {
                memset(element, 0, field_element_size(field));
                memcpy(element, &text, field->type == FIELD_STRING ? sizeof(text) : 0);
            }
            memcpy(out + field->offset, &element, sizeof(element));
            memcpy(out + field->count_offset, &one, sizeof(one));
        } else if (field->type == FIELD_STRING) {
            memcpy(out + field->offset, &text, sizeof(text));
        }
    }
}

/* ---- answers ---- */

static bool is_listed(const struct error_list *errors, int16_t code)
{
    for (size_t i = 0; errors != NULL && i < errors->count; i++) {
        if (errors->codes[i] == code) {
            return true;
        }
    }
    return code == 0 || errors == NULL;
}

/* Returns how many errors there are. */
static int look(const struct shape *shape, int version, const uint8_t *in, const char *api)
{
    int count = 0;
    for (size_t i = 0; i < shape->fields_n; i++) {
        const struct field *field = &shape->fields[i];
        int16_t code = 0;
        if (!field_in_version(field, version)) {
            continue;
        }
        if ((field->flags & FIELD_ERROR) != 0) {
            memcpy(&code, in + field->offset, sizeof(code));
            count += code != 0 ? 1 : 0;
            CU_ASSERT(is_listed(field->errors, code));
            if (!is_listed(field->errors, code)) {
                printf("%s v%d: %s.%s does not list %d\n", api, version, shape->name, field->name,
                       code);
            }
        } else if ((field->flags & FIELD_ARRAY) != 0 && field->type == FIELD_STRUCT) {
            const uint8_t *elements = NULL;
            int32_t n = 0;
            memcpy(&elements, in + field->offset, sizeof(elements));
            memcpy(&n, in + field->count_offset, sizeof(n));
            for (int32_t k = 0; k < n; k++) {
                count +=
                    look(field->shape, version, elements + (size_t)k * field->shape->size, api);
            }
        }
    }
    return count;
}

static void ask(const struct api_schema *schema, int version)
{
    struct req r = {.broker = &t.broker,
                    .home = &t.home,
                    .schema = schema,
                    .session = t.session,
                    .version = (int16_t)version,
                    .client_host = STR("/127.0.0.1")};
    arena_init(&r.arena, ARENA_BYTES);
    uint8_t *in = req_alloc(&r, message_struct_size(schema->request));
    fill(&r.arena, schema->request->shape, version, in);
    r.in = in;
    r.out = req_alloc(&r, message_struct_size(schema->response));
    message_init(schema->response, r.out);
    enum authorized result = authorize_begin(&r);
    CU_ASSERT(result == AUTHORIZED || result == ANSWERED);
    CU_ASSERT(authorize_add_refused(&r));
    int errors = look(schema->response->shape, version, r.out, schema->name);
    if (result == ANSWERED) {
        struct writer writer;
        writer_init(&writer, ARENA_BYTES);
        CU_ASSERT(errors > 0 || schema->key == API_DESCRIBE_LOG_DIRS);
        MUST(message_encode(schema->response, version, r.out, &writer));
        writer_deinit(&writer);
        t.refused++;
    }
    authorize_end(&r);
    arena_deinit(&r.arena);
}

static void begin(const char *super_users)
{
    t.broker.authorizer = authorizer_new(&(struct authorizer_config){.super_users = super_users});
    t.session = session_anonymous(PROTOCOL_PLAINTEXT);
    t.refused = 0;
}

static int ask_all(void)
{
    size_t count = 0;
    int asked = 0;
    const struct api_schema *schemas = api_schemas(&count);
    for (size_t i = 0; i < count; i++) {
        for (int v = schemas[i].version_min;
             api_of(schemas[i].key) != NULL && v <= schemas[i].version_max; v++) {
            ask(&schemas[i], v);
            asked++;
        }
    }
    authorizer_free(t.broker.authorizer);
    return asked;
}

static void test_who_may_nothing(void)
{
    begin(NULL);
    int asked = ask_all();
    CU_ASSERT(t.refused > asked / 2);
}

static void test_who_may_everything(void)
{
    begin("User:ANONYMOUS");
    CU_ASSERT(ask_all() > 100);
    CU_ASSERT_EQUAL(t.refused, 0);
}

#define TEST(function)                                                                             \
    {                                                                                              \
#function, function                                                                        \
    }

int main(int argc, char **argv)
{
    const struct suite_test tests[] = {TEST(test_who_may_nothing), TEST(test_who_may_everything)};
    return suite_run("what APIs need", tests, 2, argc, argv);
}

/* What the store keeps of users, clients and addresses: paths as Kafka writes them, reading at the start and
 * at a change, writing with clean-up. Over the embedded store. */
#define _GNU_SOURCE
#include "broker/cluster/client_configs.h"

#include "broker/tests/no_links.h"
#include "broker/tests/store_util.h"

enum { ARENA_BYTES = 64 << 20, TOLD_BYTES = 4096 };

static struct {
    char dir[64];
    struct manual_clock clock;
    struct seeded_random random;
    struct arena arena;
    struct coord *coord;
    struct controller *controller;
    struct config_editor editor;
    char told[TOLD_BYTES];
} t;

static void begin(void)
{
    memset(&t, 0, sizeof(t));
    temp_dir_make(t.dir);
    arena_init(&t.arena, ARENA_BYTES);
    manual_clock_init(&t.clock, 1700000000000);
    seeded_random_init(&t.random, 1);
    t.coord = store_open(t.dir, &t.clock.clock, ignore_watch);
    const struct controller_config controller = {.broker_id = 1,
                                                 .coord = t.coord,
                                                 .clock = &t.clock.clock,
                                                 .random = &t.random.random,
                                                 .listener = "PLAINTEXT",
                                                 .links = NO_LINKS};
    t.controller = controller_new(&controller);
    t.editor = (struct config_editor){.coord = t.coord, .controller = t.controller};
}

static void end(void)
{
    controller_free(t.controller);
    coord_close(t.coord);
    arena_deinit(&t.arena);
    temp_dir_remove(t.dir);
}

static void told(void *context, const struct client_entity *entity,
                 const struct znode_config *config)
{
    (void)context;
    struct str path = client_entity_path(&t.arena, entity);
    size_t len = strlen(t.told);
    len += (size_t)snprintf(t.told + len, TOLD_BYTES - len, "%.*s:", (int)path.len, path.data);
    for (int32_t i = 0; i < config->entries_n; i++) {
        const struct znode_config_entry *e = &config->entries[i];
        len += (size_t)snprintf(t.told + len, TOLD_BYTES - len, "%s%.*s=%.*s", i > 0 ? "," : "",
                                (int)e->name.len, e->name.data, (int)e->value.len, e->value.data);
    }
    snprintf(t.told + len, TOLD_BYTES - len, ";");
}

static const struct client_configs_sink SINK = {.changed = told};

static void check_told(const char *expected)
{
    CU_ASSERT_STRING_EQUAL(t.told, expected);
    t.told[0] = '\0';
}

static void alter(const struct client_entity *entity, const char *name, const char *value)
{
    struct client_config_edit edit = {.name = str_of(name)};
    edit.value = value == NULL ? (struct str){0} : str_of(value);
    MUST(client_config_alter(&t.editor, entity, &edit, 1));
}

static bool exists(const char *path)
{
    struct coord_op get = {.type = COORD_GET, .path = path};
    MUST(coord_run(t.coord, &get, 1, &t.arena));
    return get.error == OK;
}

static struct entity_part named(const char *name)
{
    return (struct entity_part){.kind = ENTITY_NAMED, .name = str_of(name)};
}

static const struct entity_part EVERYBODY = {.kind = ENTITY_DEFAULT};

/* ---- tests ---- */

static void check_path(const struct client_entity *entity, const char *expected)
{
    struct client_entity back = {0};
    struct str path = client_entity_path(&t.arena, entity);
    CU_ASSERT(str_is(path, expected));
    MUST(client_entity_parse(&t.arena, path, &back));
    CU_ASSERT_EQUAL(back.user.kind, entity->user.kind);
    CU_ASSERT_EQUAL(back.client.kind, entity->client.kind);
    CU_ASSERT_EQUAL(back.ip.kind, entity->ip.kind);
    CU_ASSERT(str_equal(back.user.name, entity->user.name));
    CU_ASSERT(str_equal(back.client.name, entity->client.name));
}

static void test_paths(void)
{
    begin();
    check_path(&(struct client_entity){.user = named("odd,=name")}, "users/odd%2C%3Dname");
    check_path(&(struct client_entity){.user = EVERYBODY}, "users/<default>");
    check_path(&(struct client_entity){.user = named("<default>")}, "users/%3Cdefault%3E");
    check_path(&(struct client_entity){.user = named("a b*~"), .client = EVERYBODY},
               "users/a%20b%2A%7E/clients/<default>");
    check_path(&(struct client_entity){.client = named("c/d")}, "clients/c%2Fd");
    check_path(&(struct client_entity){.user = named("\xc3\xa9")}, "users/%C3%A9");
    check_path(&(struct client_entity){.ip = named("127.0.0.1")}, "ips/127.0.0.1");
    static const char *const WRONG[] = {
        "",        "users",     "users/",     "topics/a", "users/a/b",    "users/a/clients/b/c",
        "users/%", "users/a%2", "users/a%zz", "ips/1/2",  "clients/a/b/", "ips/a/clients/b"};
    for (size_t i = 0; i < sizeof(WRONG) / sizeof(WRONG[0]); i++) {
        struct client_entity entity = {0};
        CU_ASSERT_EQUAL(client_entity_parse(&t.arena, str_of(WRONG[i]), &entity), E_MALFORMED);
    }
    end();
}

static void test_reading(void)
{
    begin();
    alter(&(struct client_entity){.user = named("u")}, "producer_byte_rate", "5");
    alter(&(struct client_entity){.user = named("u"), .client = EVERYBODY}, "x", "1");
    alter(&(struct client_entity){.client = named("c")}, "y", "2");
    alter(&(struct client_entity){.ip = EVERYBODY}, "z", "3");
    struct coord_op bad[] = {
        {.type = COORD_CREATE, .path = "/config/users/bad", .data = bytes_of("{nonsense", 9)},
        {.type = COORD_CREATE, .path = "/config/users/half%2", .data = bytes_of("{}", 2)}};
    MUST(coord_run(t.coord, bad, 2, &t.arena));
    MUST(client_configs_load(t.coord, &SINK));
    check_told("clients/c:y=2;ips/<default>:z=3;users/u:producer_byte_rate=5;"
               "users/u/clients/<default>:x=1;");
    MUST(client_configs_changed(t.coord, &SINK, STR("users/u")));
    check_told("users/u:producer_byte_rate=5;");
    MUST(client_configs_changed(t.coord, &SINK, STR("users/gone")));
    check_told("users/gone:;");
    MUST(client_configs_changed(t.coord, &SINK, STR("users/bad")));
    MUST(client_configs_changed(t.coord, &SINK, STR("no//path")));
    check_told("");
    end();
}

static void test_writing(void)
{
    begin();
    const struct client_entity user = {.user = named("u")};
    const struct client_entity both = {.user = named("u"), .client = named("c")};
    alter(&user, "a", "1");
    alter(&user, "b", "2");
    alter(&user, "a", "3");
    alter(&both, "c", "4");
    MUST(client_configs_changed(t.coord, &SINK, STR("users/u")));
    check_told("users/u:a=3,b=2;");
    alter(&user, "a", NULL);
    alter(&user, "none", NULL);
    MUST(client_configs_changed(t.coord, &SINK, STR("users/u")));
    check_told("users/u:b=2;");
    alter(&user, "b", NULL);
    CU_ASSERT(exists("/config/users/u")); /* it has clients */
    alter(&both, "c", NULL);
    CU_ASSERT(!exists("/config/users/u/clients"));
    CU_ASSERT(!exists("/config/users/u"));
    CU_ASSERT(exists("/config/users"));
    alter(&user, "none", NULL); /* nothing is made for nothing */
    CU_ASSERT(!exists("/config/users/u"));
    struct coord_op list = {.type = COORD_CHILDREN, .path = ZNODE_CONFIG_CHANGES};
    MUST(coord_run(t.coord, &list, 1, &t.arena));
    CU_ASSERT_EQUAL(list.children_n, 8);
    struct str last = arena_format(&t.arena, ZNODE_CONFIG_CHANGES "/%s", list.children[7]);
    struct coord_op get = {.type = COORD_GET, .path = last.data};
    MUST(coord_run(t.coord, &get, 1, &t.arena));
    const char *text = "{\"version\":2,\"entity_path\":\"users/u/clients/c\"}";
    CU_ASSERT(get.value.len == strlen(text) && memcmp(get.value.data, text, get.value.len) == 0);
    end();
}

/* As if a session had been over: who was known, and has no node any more, is gone. */
static void test_reading_again(void)
{
    begin();
    static const char *const KNOWN[] = {"users/gone",
                                        "users/here",
                                        "users/odd%2C%3Dgone",
                                        "ips/1.2.3.4",
                                        "users/gone/clients/<default>",
                                        "no such path"};
    alter(&(struct client_entity){.user = named("here")}, "SCRAM-SHA-256", "a");
    alter(&(struct client_entity){.user = named("fresh")}, "SCRAM-SHA-256", "b");
    MUST(client_configs_load_again(t.coord, &SINK, KNOWN, sizeof(KNOWN) / sizeof(KNOWN[0])));
    check_told("users/fresh:SCRAM-SHA-256=b;users/here:SCRAM-SHA-256=a;users/gone:;"
               "users/odd%2C%3Dgone:;ips/1.2.3.4:;users/gone/clients/<default>:;");
    end();
}

SUITE("client_configs", TEST(test_paths), TEST(test_reading), TEST(test_reading_again),
      TEST(test_writing))

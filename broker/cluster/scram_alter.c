/* In Kafka's order: users with a wish that cannot be, users with two wishes for one mechanism, and of the rest those
 * who shall lose what they do not have; what is left is written, user by user. */
#include "broker/cluster/scram_alter.h"

#include "base/log.h"
#include "base/map.h"
#include "base/seen.h"
#include "broker/cluster/client_configs.h"
#include "broker/security/scram.h"
#include "protocol/error.h"

#include <openssl/crypto.h>

enum { ARENA_BYTES = 16 << 20 };

struct altering {
    const struct config_editor *editor;
    const struct scram_wish *wishes;
    int32_t wishes_n;
    struct scram_result *results;
    int32_t results_n;
    struct map decided; /* users, with anything */
};

static bool is_decided(const struct altering *a, struct str user)
{
    return map_get_str(&a->decided, user) != NULL;
}

static void decide(struct altering *a, struct str user, err error, const char *message)
{
    if (!is_decided(a, user)) {
        a->results[a->results_n++] =
            (struct scram_result){.user = user, .error = error, .message = message};
        map_set_str(&a->decided, user, a);
    }
}

/* ---- checks ---- */

static void check_wish(struct altering *a, const struct scram_wish *wish)
{
    bool known = wish->mechanism == SCRAM_SHA_256 || wish->mechanism == SCRAM_SHA_512;
    if (wish->user.len == 0) {
        decide(a, wish->user, ERR_UNACCEPTABLE_CREDENTIAL, "Username must not be empty");
    } else if (!known) {
        decide(a, wish->user, ERR_UNSUPPORTED_SASL_MECHANISM, "Unknown SCRAM mechanism");
    } else if (wish->removes) {
        return;
    } else if (wish->iterations < SCRAM_ITERATIONS_MIN) {
        decide(a, wish->user, ERR_UNACCEPTABLE_CREDENTIAL, "Too few iterations");
    } else if (wish->iterations > SCRAM_ITERATIONS_MAX) {
        decide(a, wish->user, ERR_UNACCEPTABLE_CREDENTIAL, "Too many iterations");
    } else if (wish->salt.len > SCRAM_SALT_MAX) {
        decide(a, wish->user, ERR_UNACCEPTABLE_CREDENTIAL, "The salt is too long");
    } else if (wish->salted_password.len == 0) {
        decide(a, wish->user, ERR_UNACCEPTABLE_CREDENTIAL, "The salted password is empty");
    }
}

static void find_duplicates(struct altering *a)
{
    struct seen seen;
    seen_init(&seen);
    for (int32_t i = 0; i < a->wishes_n; i++) {
        const struct scram_wish *wish = &a->wishes[i];
        const struct seen_key key = {.name = wish->user, .number = wish->mechanism};
        if (!is_decided(a, wish->user) && seen_add(&seen, &key) > 0) {
            decide(a, wish->user, ERR_DUPLICATE_RESOURCE,
                   "A user credential cannot be altered twice in the same request");
        }
    }
    seen_deinit(&seen);
}

/* ---- writing ---- */

static bool has_credential(const struct znode_config *config, int8_t mechanism)
{
    for (int32_t i = 0; i < config->entries_n; i++) {
        if (str_is(config->entries[i].name,
                   scram_mechanism_name((enum scram_mechanism)mechanism))) {
            return true;
        }
    }
    return false;
}

static struct client_entity entity_of(struct str user)
{
    return (struct client_entity){.user = {.kind = ENTITY_NAMED, .name = user}};
}

/* Has the user what shall go? */
static err check_removals(struct altering *a, struct arena *arena, struct str user, bool *missing)
{
    struct znode_config config;
    int32_t version = -1;
    const struct client_entity entity = entity_of(user);
    TRY(client_config_read(a->editor->coord, arena, &entity, &config, &version));
    for (int32_t i = 0; i < a->wishes_n; i++) {
        const struct scram_wish *wish = &a->wishes[i];
        *missing |= wish->removes && str_equal(wish->user, user) &&
                    !has_credential(&config, wish->mechanism);
    }
    return OK;
}

static err edit_of(struct arena *arena, const struct scram_wish *wish,
                   struct client_config_edit *edit)
{
    enum scram_mechanism mechanism = (enum scram_mechanism)wish->mechanism;
    *edit = (struct client_config_edit){.name = str_of(scram_mechanism_name(mechanism))};
    if (wish->removes) {
        return OK;
    }
    char text[SCRAM_TEXT_MAX];
    struct scram_credential credential;
    TRY(scram_credential_make(mechanism, wish->salted_password, wish->salt, wish->iterations,
                              &credential));
    scram_credential_format(&credential, text);
    edit->value = arena_str(arena, str_of(text));
    OPENSSL_cleanse(&credential, sizeof(credential));
    OPENSSL_cleanse(text, sizeof(text));
    return edit->value.data == NULL ? E_LIMIT : OK;
}

static err write_user(struct altering *a, struct arena *arena, struct str user)
{
    struct client_config_edit edits[SCRAM_MECHANISMS];
    int32_t edits_n = 0;
    for (int32_t i = 0; i < a->wishes_n && edits_n < SCRAM_MECHANISMS; i++) {
        if (str_equal(a->wishes[i].user, user)) {
            TRY(edit_of(arena, &a->wishes[i], &edits[edits_n++]));
        }
    }
    const struct client_entity entity = entity_of(user);
    return client_config_alter(a->editor, &entity, edits, edits_n);
}

static void decide_by_store(struct altering *a, struct str user, err e)
{
    if (e == OK) {
        decide(a, user, OK, "");
        return;
    }
    log_error("config-changes", "credentials not changed user=%.*s error=\"%s\"", (int)user.len,
              user.data, err_text(e));
    if (e == E_MALFORMED) {
        decide(a, user, ERR_UNKNOWN_SERVER_ERROR, "The user's node cannot be read");
    } else {
        decide(a, user, ERR_REQUEST_TIMED_OUT, "The coordination store cannot be reached");
    }
}

/* For all that are not decided yet. */
static void each_user(struct altering *a, void (*each)(struct altering *a, struct str user))
{
    for (int32_t i = 0; i < a->wishes_n; i++) {
        if (!is_decided(a, a->wishes[i].user)) {
            each(a, a->wishes[i].user);
        }
    }
}

static void refuse_missing(struct altering *a, struct str user)
{
    struct arena arena;
    bool missing = false;
    arena_init(&arena, ARENA_BYTES);
    err e = check_removals(a, &arena, user, &missing);
    arena_deinit(&arena);
    if (e != OK) {
        decide_by_store(a, user, e);
    } else if (missing) {
        decide(a, user, ERR_RESOURCE_NOT_FOUND,
               "Attempt to delete a user credential that does not exist");
    }
}

static void write_one(struct altering *a, struct str user)
{
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    decide_by_store(a, user, write_user(a, &arena, user));
    arena_deinit(&arena);
}

int32_t scram_alter(const struct config_editor *editor, const struct scram_wish *wishes,
                    int32_t wishes_n, struct scram_result *results)
{
    struct altering a = {
        .editor = editor, .wishes = wishes, .wishes_n = wishes_n, .results = results};
    map_init(&a.decided);
    for (int32_t i = 0; i < wishes_n; i++) {
        check_wish(&a, &wishes[i]);
    }
    find_duplicates(&a);
    each_user(&a, refuse_missing);
    each_user(&a, write_one);
    map_deinit(&a.decided);
    return a.results_n;
}

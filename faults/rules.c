/* Every mistake in a rule is refused with a sentence: a rule that quietly did nothing would make a test pass. */
#define _GNU_SOURCE
#include "faults/rules.h"

#include "base/refuse.h"
#include "broker/api/api.h"
#include "faults/about.h"
#include "faults/answer.h"
#include "protocol/topic_name.h"

#include <stdlib.h>

enum { DELAY_MAX_MS = 3600 * 1000 };

static const char *const ACTIONS[] = {"error", "delay", "drop", "lose", "close", "hold"};
enum { ACTIONS_N = sizeof(ACTIONS) / sizeof(ACTIONS[0]) };

/* What brokers send each other, which no client sends. */
static bool is_of_brokers(int16_t key)
{
    return (key >= API_LEADER_AND_ISR && key <= API_CONTROLLED_SHUTDOWN) ||
           key == API_WRITE_TXN_MARKERS || key == API_ALTER_PARTITION ||
           key == API_ALLOCATE_PRODUCER_IDS;
}

/* ---- reading ---- */

static err read_api(struct rule *rule, const json_t *value, char *reason)
{
    if (json_is_integer(value) && json_integer_value(value) >= 0 &&
        json_integer_value(value) <= INT16_MAX &&
        api_of((int16_t)json_integer_value(value)) != NULL) {
        rule->api_key = (int16_t)json_integer_value(value);
        return OK;
    }
    size_t count;
    const struct api_schema *all = api_schemas(&count);
    for (size_t i = 0; json_is_string(value) && i < count; i++) {
        if (strcasecmp(all[i].name, json_string_value(value)) == 0 && api_of(all[i].key) != NULL) {
            rule->api_key = all[i].key;
            return OK;
        }
    }
    return refuse(reason, RULE_REASON_BYTES,
                  "\"api\" is the name or the number of an API that is served, like \"Produce\"");
}

static err read_action(struct rule *rule, const json_t *value, char *reason)
{
    for (int i = 0; json_is_string(value) && i < ACTIONS_N; i++) {
        if (strcmp(ACTIONS[i], json_string_value(value)) == 0) {
            rule->action = (enum fault_action)i;
            return OK;
        }
    }
    return refuse(reason, RULE_REASON_BYTES,
                  "\"action\" is one of error, delay, drop, lose, close and hold");
}

static err read_error(struct rule *rule, const json_t *value, char *reason)
{
    static const int16_t CODES[] = {
#define KAFKA_ERROR(code, name) code,
#include "protocol/error.def"
#undef KAFKA_ERROR
    };
    for (size_t i = 0; i < sizeof(CODES) / sizeof(CODES[0]); i++) {
        bool is = json_is_string(value)
                      ? strcmp(json_string_value(value), kafka_error_name(CODES[i])) == 0
                      : json_is_integer(value) && json_integer_value(value) == CODES[i];
        if (is) {
            rule->error = CODES[i];
            return OK;
        }
    }
    return refuse(reason, RULE_REASON_BYTES,
                  "\"error\" is the name or the number of one of Kafka's errors, like "
                  "\"NOT_LEADER_OR_FOLLOWER\"");
}

static err read_text(char **text, const char *name, const json_t *value, char *reason)
{
    if (!json_is_string(value)) {
        return refuse(reason, RULE_REASON_BYTES, "\"%s\" is a text", name);
    }
    free(*text);
    *text = xstrdup(json_string_value(value));
    return OK;
}

static err read_number(int64_t *number, const char *name, const json_t *value, int64_t max,
                       char *reason)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > max) {
        return refuse(reason, RULE_REASON_BYTES, "\"%s\" is a number from 0 to %lld", name,
                      (long long)max);
    }
    *number = json_integer_value(value);
    return OK;
}

static err read_member(struct rule *rule, const char *name, const json_t *value, char *reason)
{
    int64_t number = 0;
    if (strcmp(name, "api") == 0) {
        return read_api(rule, value, reason);
    } else if (strcmp(name, "action") == 0) {
        return read_action(rule, value, reason);
    } else if (strcmp(name, "error") == 0) {
        return read_error(rule, value, reason);
    } else if (strcmp(name, "client_id") == 0) {
        return read_text(&rule->client_id, name, value, reason);
    } else if (strcmp(name, "topic") == 0) {
        return read_text(&rule->topic, name, value, reason);
    } else if (strcmp(name, "delay_ms") == 0) {
        return read_number(&rule->delay_ms, name, value, DELAY_MAX_MS, reason);
    } else if (strcmp(name, "count") == 0) {
        return read_number(&rule->count, name, value, INT64_MAX, reason);
    } else if (strcmp(name, "partition") == 0) {
        TRY(read_number(&number, name, value, INT32_MAX, reason));
        rule->partition = (int32_t)number;
        return OK;
    }
    return refuse(reason, RULE_REASON_BYTES,
                  "\"%s\" is not part of a rule, which has api, client_id, topic, partition, "
                  "action, error, delay_ms and count",
                  name);
}

/* What belongs together. */
static err check(const struct rule *rule, const json_t *object, char *reason)
{
    if (json_object_get(object, "action") == NULL) {
        return refuse(reason, RULE_REASON_BYTES,
                      "\"action\" is missing: one of error, delay, drop, lose, close and hold");
    }
    if ((rule->action == FAULT_ERROR) != (json_object_get(object, "error") != NULL)) {
        return refuse(reason, RULE_REASON_BYTES,
                      "\"error\" goes with \"action\": \"error\", and only with that");
    }
    if ((rule->action == FAULT_DELAY) != (json_object_get(object, "delay_ms") != NULL)) {
        return refuse(reason, RULE_REASON_BYTES,
                      "\"delay_ms\" goes with \"action\": \"delay\", and only with that");
    }
    if (rule->partition >= 0 && rule->topic == NULL) {
        return refuse(reason, RULE_REASON_BYTES, "\"partition\" needs \"topic\"");
    }
    if (rule->topic != NULL && !topic_name_is_legal(str_of(rule->topic))) {
        return refuse(reason, RULE_REASON_BYTES, "\"topic\": no topic can be called %s",
                      rule->topic);
    }
    if (rule->action == FAULT_ERROR && rule->api_key < 0) {
        return refuse(reason, RULE_REASON_BYTES,
                      "\"action\": \"error\" needs \"api\": answers differ");
    }
    if (rule->action == FAULT_ERROR && !answer_may_say(api_schema_of(rule->api_key), rule->error)) {
        return refuse(reason, RULE_REASON_BYTES, "\"error\": Kafka never answers %s with %s",
                      api_schema_of(rule->api_key)->name, kafka_error_name(rule->error));
    }
    return OK;
}

static err read_object(struct rule *rule, json_t *object, char *reason)
{
    if (!json_is_object(object)) {
        return refuse(
            reason, RULE_REASON_BYTES,
            "a rule is a JSON object, like {\"api\": \"Produce\", \"action\": \"close\"}");
    }
    const char *name;
    json_t *value;
    json_object_foreach (object, name, value) {
        TRY(read_member(rule, name, value, reason));
    }
    TRY(check(rule, object, reason));
    if (json_object_get(object, "count") == NULL) {
        rule->count = rule->action == FAULT_HOLD ? 0 : 1;
    }
    return OK;
}

struct rule *rule_read(const char *text, size_t len, char reason[RULE_REASON_BYTES])
{
    json_error_t error;
    json_t *object = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
    struct rule *rule = xcalloc(1, sizeof(*rule));
    *rule = (struct rule){.api_key = -1, .partition = -1};
    err e = object == NULL
                ? refuse(reason, RULE_REASON_BYTES, "line %d: %s", error.line, error.text)
                : read_object(rule, object, reason);
    json_decref(object);
    if (e != OK) {
        rule_free(rule);
        return NULL;
    }
    return rule;
}

void rule_free(struct rule *rule)
{
    free(rule->client_id);
    free(rule->topic);
    free(rule);
}

/* ---- showing ---- */

json_t *rule_show(const struct rule *rule, int64_t held)
{
    json_t *shown = json_object();
    (void)json_object_set_new(shown, "id", json_integer(rule->id));
    if (rule->api_key >= 0) {
        (void)json_object_set_new(shown, "api", json_string(api_schema_of(rule->api_key)->name));
    }
    if (rule->client_id != NULL) {
        (void)json_object_set_new(shown, "client_id", json_string(rule->client_id));
    }
    if (rule->topic != NULL) {
        (void)json_object_set_new(shown, "topic", json_string(rule->topic));
    }
    if (rule->partition >= 0) {
        (void)json_object_set_new(shown, "partition", json_integer(rule->partition));
    }
    (void)json_object_set_new(shown, "action", json_string(ACTIONS[rule->action]));
    if (rule->action == FAULT_ERROR) {
        (void)json_object_set_new(shown, "error", json_string(kafka_error_name(rule->error)));
    }
    if (rule->action == FAULT_DELAY) {
        (void)json_object_set_new(shown, "delay_ms", json_integer(rule->delay_ms));
    }
    (void)json_object_set_new(shown, "count", json_integer(rule->count));
    (void)json_object_set_new(shown, "hits", json_integer(rule->hits));
    (void)json_object_set_new(shown, "held", json_integer(held));
    return shown;
}

/* ---- which requests ---- */

bool rule_matches(const struct rule *rule, const struct req *r)
{
    if (rule->count > 0 && rule->hits >= rule->count) {
        return false;
    }
    if (rule->api_key >= 0 ? rule->api_key != r->schema->key : is_of_brokers(r->schema->key)) {
        return false;
    }
    if (rule->client_id != NULL &&
        !str_is(r->client_id.data == NULL ? STR("") : r->client_id, rule->client_id)) {
        return false;
    }
    return rule->topic == NULL || request_names(r, str_of(rule->topic), rule->partition);
}

/* From HTTP to the rules and back. */
#define _GNU_SOURCE
#include "faults/http_api.h"

#include <stdlib.h>
#include <string.h>

static const char HELP[] =
    "GET    /faults             all rules: how often each was hit, how many requests it holds\n"
    "POST   /faults             adds a rule, and answers with its id\n"
    "DELETE /faults             removes all rules; what they hold goes on\n"
    "DELETE /faults/ID          removes one\n"
    "POST   /connections/cut    closes all connections of clients\n"
    "\n"
    "A rule: {\"api\": \"Produce\", \"client_id\": \"app\", \"topic\": \"orders\", \"partition\": "
    "0,\n"
    "         \"action\": \"error\", \"error\": \"NOT_LEADER_OR_FOLLOWER\", \"delay_ms\": 500, "
    "\"count\": 2}\n"
    "Actions: error, delay, drop, lose, close, hold. count 0: until the rule is removed.\n";

static void answer_json(struct http_answer *answer, int status, json_t *value)
{
    char *text = json_dumps(value, JSON_INDENT(2));
    json_decref(value);
    CHECK(text != NULL);
    *answer = (struct http_answer){.status = status,
                                   .type = "application/json",
                                   .data = text,
                                   .len = strlen(text),
                                   .done = free,
                                   .data_owner = text};
}

static void answer_error(struct http_answer *answer, int status, const char *sentence)
{
    answer_json(answer, status, json_pack("{s:s}", "error", sentence));
}

static void add(struct http_api *api, const struct http_request *request,
                struct http_answer *answer)
{
    char reason[RULE_REASON_BYTES];
    struct rule *rule = rule_read(request->body, request->body_len, reason);
    if (rule == NULL) {
        answer_error(answer, 400, reason);
        return;
    }
    int64_t id = faults_add(api->faults, rule);
    if (id == 0) {
        rule_free(rule);
        answer_error(answer, 400, "there are too many rules; remove some");
        return;
    }
    answer_json(answer, 201, json_pack("{s:I}", "id", (json_int_t)id));
}

static void clear_one(struct http_api *api, const char *text, struct http_answer *answer)
{
    char *end;
    long long id = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || id < 1 || faults_clear(api->faults, id) == 0) {
        answer_error(answer, 404, "there is no such rule");
        return;
    }
    answer_json(answer, 200, json_pack("{s:i}", "cleared", 1));
}

static void cut(struct http_api *api, struct http_answer *answer)
{
    api->cut(api->context);
    answer_json(answer, 200, json_object());
}

void http_api_handle(void *context, const struct http_request *request, struct http_answer *answer)
{
    struct http_api *api = context;
    const char *path = request->path;
    bool get = strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0;
    bool post = strcmp(request->method, "POST") == 0;
    bool remove = strcmp(request->method, "DELETE") == 0;
    if (strcmp(path, "/") == 0 && get) {
        *answer = (struct http_answer){.status = 200,
                                       .type = "text/plain; charset=utf-8",
                                       .data = HELP,
                                       .len = sizeof(HELP) - 1};
    } else if (strcmp(path, "/faults") == 0 && get) {
        answer_json(answer, 200, json_pack("{s:o}", "faults", faults_show(api->faults)));
    } else if (strcmp(path, "/faults") == 0 && post) {
        add(api, request, answer);
    } else if (strcmp(path, "/faults") == 0 && remove) {
        answer_json(answer, 200,
                    json_pack("{s:I}", "cleared", (json_int_t)faults_clear(api->faults, 0)));
    } else if (strncmp(path, "/faults/", 8) == 0 && remove) {
        clear_one(api, path + 8, answer);
    } else if (strcmp(path, "/connections/cut") == 0 && post) {
        cut(api, answer);
    } else {
        answer_error(answer, 404,
                     "there is nothing of that name and method; GET / says what there is");
    }
}

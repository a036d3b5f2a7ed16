/* Which topics a call of kafka-topics means.
 *
 * --topic is a list of regular expressions, separated by commas, of which the whole name matches one; quotes around it
 * and blanks in it do not count. They are POSIX's extended ones with the characters of glibc: what Java has besides
 * (\d, look-around, non-greedy operators) is refused or taken literally. */
#define _GNU_SOURCE
#include "cli/topics.h"

#include "base/refuse.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static err ask_all(struct topics_call *call, struct metadata_response *answer)
{
    struct metadata_request request;
    metadata_request_init(&request);
    request.topics_n = -1;
    request.allow_auto_topic_creation = false;
    err e = brokers_ask(&call->brokers, NULL,
                        &(struct client_question){API_METADATA, 1, 0, &request, answer});
    if (e != OK) {
        snprintf(call->reason, sizeof(call->reason), "%s", call->brokers.reason);
    }
    return e;
}

static err compile(const char *given, regex_t *pattern, char *reason)
{
    char *text = xasprintf("^(%s)$", given);
    char *out = text;
    for (const char *in = text; *in != '\0'; in++) {
        if (*in != ' ' && *in != '"' && *in != '\'') {
            *out++ = *in == ',' ? '|' : *in;
        }
    }
    *out = '\0';
    int failed = regcomp(pattern, text, REG_EXTENDED | REG_NOSUB);
    free(text);
    if (failed != 0) {
        char why[128];
        regerror(failed, pattern, why, sizeof(why));
        return refuse(reason, CLI_REASON_BYTES, "%s is an invalid regex.: %s", given, why);
    }
    return OK;
}

static int compare_names(const void *a, const void *b)
{
    struct str x = (*(const struct metadata_response_topic *const *)a)->name;
    struct str y = (*(const struct metadata_response_topic *const *)b)->name;
    int order = memcmp(x.data, y.data, x.len < y.len ? x.len : y.len);
    return order != 0 ? order : x.len < y.len ? -1 : x.len > y.len;
}

/* Of the topics those that match; `pattern` NULL: all. */
static void take_matching(struct topics_call *call, const struct metadata_response *answer,
                          const regex_t *pattern, struct topics_meant *meant)
{
    bool no_internal = cli_has(&call->options, "exclude-internal");
    for (int32_t i = 0; i < answer->topics_n; i++) {
        const struct metadata_response_topic *topic = &answer->topics[i];
        if (no_internal && topic->is_internal) {
            continue;
        }
        struct str name = arena_str(&call->brokers.arena, topic->name);
        if (pattern == NULL || regexec(pattern, name.data, 0, NULL, 0) == 0) {
            meant->all[meant->count++] = topic;
        }
    }
    qsort(meant->all, meant->count, sizeof(meant->all[0]), compare_names);
}

static err take_id(struct topics_call *call, const struct metadata_response *answer,
                   struct topics_meant *meant)
{
    const char *text = cli_value(&call->options, "topic-id");
    struct uuid id;
    if (!uuid_parse(str_of(text), &id)) {
        return refuse(call->reason, CLI_REASON_BYTES,
                      "%s is no id of a topic, which is 16 bytes in base64", text);
    }
    for (int32_t i = 0; i < answer->topics_n; i++) {
        if (uuid_equal(answer->topics[i].topic_id, id)) {
            meant->all[meant->count++] = &answer->topics[i];
        }
    }
    if (meant->count == 0 && !cli_has(&call->options, "if-exists")) {
        return refuse(call->reason, CLI_REASON_BYTES, "TopicId '%s' does not exist as expected",
                      text);
    }
    return OK;
}

err topics_meant(struct topics_call *call, struct topics_meant *meant)
{
    struct metadata_response answer;
    TRY(ask_all(call, &answer));
    *meant = (struct topics_meant){0};
    meant->all =
        arena_array(&call->brokers.arena, (size_t)answer.topics_n + 1, sizeof(meant->all[0]));
    if (meant->all == NULL) {
        return refuse_with(E_LIMIT, call->reason, CLI_REASON_BYTES, "too many topics");
    }
    if (cli_has(&call->options, "topic-id")) {
        return take_id(call, &answer, meant);
    }
    const char *wanted = cli_value(&call->options, "topic");
    if (wanted == NULL) {
        take_matching(call, &answer, NULL, meant);
        return OK;
    }
    regex_t pattern;
    TRY(compile(wanted, &pattern, call->reason));
    take_matching(call, &answer, &pattern, meant);
    regfree(&pattern);
    if (meant->count == 0 && !cli_has(&call->options, "list") &&
        !cli_has(&call->options, "if-exists")) {
        return refuse(call->reason, CLI_REASON_BYTES,
                      "Topic 'Optional[%s]' does not exist as expected", wanted);
    }
    return OK;
}

/* kafka-consumer-groups: lists, describes and deletes groups, in the columns of Kafka 3.9.1's tool, which scripts cut;
 * resetting offsets is in groups_reset.c.
 *
 * Not here: --delete-offsets, and filters by type. */
#define _GNU_SOURCE
#include "base/refuse.h"
#include "cli/command_config.h"
#include "cli/groups.h"
#include "cli/groups_reset.h"
#include "cli/options.h"
#include "cli/said.h"
#include "cli/tools.h"
#include "protocol/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 60000, COLUMN_MIN = 15, COORDINATOR_MIN = 25, NUMBER_BYTES = 24 };

static const struct cli_option OPTIONS[] = {
    {"bootstrap-server", CLI_VALUE, "where a broker is: host:port"},
    {"list", CLI_FLAG, "the names of all groups"},
    {"describe", CLI_FLAG, "how far groups are, and who is in them"},
    {"delete", CLI_FLAG, "groups without members, with their offsets"},
    {"group", CLI_VALUES, "the group; several may be given"},
    {"all-groups", CLI_FLAG, "all of them"},
    {"offsets", CLI_FLAG, "with --describe: how far; as it is without"},
    {"members", CLI_FLAG, "with --describe: who is in them"},
    {"state", CLI_OPTIONAL,
     "with --describe or --list: their states; with --list only these: Empty,Stable"},
    {"reset-offsets", CLI_FLAG,
     "where a group without members begins; shown, or with --execute written"},
    {"topic", CLI_VALUES, "with --reset-offsets: a topic, or topic:0,1"},
    {"all-topics", CLI_FLAG, "with --reset-offsets: all that the group has offsets of"},
    {"to-earliest", CLI_FLAG, "the start of each log"},
    {"to-latest", CLI_FLAG, "the end"},
    {"to-current", CLI_FLAG, "where it is"},
    {"to-offset", CLI_VALUE, "this offset"},
    {"shift-by", CLI_VALUE, "so many on, or back"},
    {"to-datetime", CLI_VALUE, "the first record from 2024-01-31T12:00:00.000 on"},
    {"execute", CLI_FLAG, "with --reset-offsets: writes them"},
    {"dry-run", CLI_FLAG, "with --reset-offsets: only shows them"},
    {"verbose", CLI_FLAG, "with --members: what each has"},
    {"timeout", CLI_VALUE, "has no effect here"},
    {"command-config", CLI_VALUE, "a file of client options"},
    {"version", CLI_FLAG, "the version of Kafka whose tool this is like"},
    {"help", CLI_FLAG, "this"},
    {NULL, CLI_FLAG, NULL},
};

struct groups_call {
    struct cli_options options;
    struct brokers brokers;
    const char **groups; /* in the arena of the brokers */
    size_t groups_n;
};

static int wider(int width, struct str text)
{
    return (int)text.len > width ? (int)text.len : width;
}

/* ---- list ---- */

static err list(struct groups_call *call)
{
    struct listed_group *all;
    size_t count;
    TRY(groups_list(&call->brokers, cli_value(&call->options, "state"), &all, &count));
    bool states = cli_has(&call->options, "state");
    int width = COORDINATOR_MIN;
    for (size_t i = 0; i < count; i++) {
        int wanted = (int)all[i].id.len + 10;
        width = wanted > width ? wanted : width;
    }
    if (states) {
        printf("%-*s %-20s\n", width, "GROUP", "STATE");
    }
    for (size_t i = 0; i < count; i++) {
        if (states) {
            printf("%-*.*s %-20.*s\n", width, (int)all[i].id.len, all[i].id.data,
                   (int)all[i].state.len, all[i].state.data);
        } else {
            printf("%.*s\n", (int)all[i].id.len, all[i].id.data);
        }
    }
    return OK;
}

/* ---- describe ---- */

/* One row of offsets, or the header. */
struct row {
    const char *group;
    struct str topic;
    const char *partition;
    const char *committed;
    const char *end;
    const char *lag;
    struct str member;
    struct str host;
    struct str client;
};

struct widths {
    int group;
    int topic;
    int member;
    int host;
    int client;
};

static void print_row(const struct widths *w, const struct row *row)
{
    printf("\n%-*s %-*.*s %-10s %-15s %-15s %-15s %-*.*s %-*.*s %.*s", w->group, row->group,
           w->topic, (int)row->topic.len, row->topic.data, row->partition, row->committed, row->end,
           row->lag, w->member, (int)row->member.len, row->member.data, w->host, (int)row->host.len,
           row->host.data, (int)row->client.len, row->client.data);
}

static const char *number(int64_t value, bool known, char text[NUMBER_BYTES])
{
    snprintf(text, NUMBER_BYTES, "%lld", (long long)value);
    return known ? text : "-";
}

static void print_partition(const struct group_view *group, const struct group_partition *p,
                            const struct widths *w)
{
    static const struct describe_groups_response_member NOBODY = {
        .member_id = {"-", 1}, .client_host = {"-", 1}, .client_id = {"-", 1}};
    const struct describe_groups_response_member *member =
        p->member < 0 ? &NOBODY : &group->described.members[p->member];
    char partition[NUMBER_BYTES];
    char committed[NUMBER_BYTES];
    char end[NUMBER_BYTES];
    char lag[NUMBER_BYTES];
    const struct row row = {
        .group = group->id,
        .topic = p->topic,
        .partition = number(p->partition, true, partition),
        .committed = number(p->committed, p->committed >= 0, committed),
        .end = number(p->end, p->end >= 0, end),
        .lag = number(p->end - p->committed, p->end >= 0 && p->committed >= 0, lag),
        .member = member->member_id,
        .host = member->client_host,
        .client = member->client_id};
    print_row(w, &row);
}

static struct widths widths_of(const struct group_view *group)
{
    struct widths w = {COLUMN_MIN, COLUMN_MIN, COLUMN_MIN, COLUMN_MIN, COLUMN_MIN};
    if (group->partitions_n > 0 || group->described.members_n > 0) {
        w.group = wider(w.group, str_of(group->id));
    }
    for (size_t i = 0; i < group->partitions_n; i++) {
        w.topic = wider(w.topic, group->partitions[i].topic);
    }
    for (int32_t i = 0; i < group->described.members_n; i++) {
        w.member = wider(w.member, group->described.members[i].member_id);
        w.host = wider(w.host, group->described.members[i].client_host);
        w.client = wider(w.client, group->described.members[i].client_id);
    }
    return w;
}

static int compare_partitions(const void *a, const void *b)
{
    const struct group_partition *x = a;
    const struct group_partition *y = b;
    if (x->member != y->member) {
        return (uint32_t)x->member < (uint32_t)y->member ? -1 : 1; /* nobody's last */
    }
    size_t len = x->topic.len < y->topic.len ? x->topic.len : y->topic.len;
    int order = memcmp(x->topic.data, y->topic.data, len);
    order = order != 0 ? order : x->topic.len < y->topic.len ? -1 : x->topic.len > y->topic.len;
    return order != 0 ? order : x->partition < y->partition ? -1 : x->partition > y->partition;
}

static err describe_offsets(struct groups_call *call, struct group_view *group)
{
    TRY(group_offsets(&call->brokers, group));
    if (group->partitions_n == 0) {
        return OK;
    }
    qsort(group->partitions, group->partitions_n, sizeof(*group->partitions), compare_partitions);
    struct widths w = widths_of(group);
    const struct row header = {.group = "GROUP",
                               .topic = STR("TOPIC"),
                               .partition = "PARTITION",
                               .committed = "CURRENT-OFFSET",
                               .end = "LOG-END-OFFSET",
                               .lag = "LAG",
                               .member = STR("CONSUMER-ID"),
                               .host = STR("HOST"),
                               .client = STR("CLIENT-ID")};
    print_row(&w, &header);
    for (size_t i = 0; i < group->partitions_n; i++) {
        print_partition(group, &group->partitions[i], &w);
    }
    return OK;
}

static void print_assignment(const struct consumer_protocol_assignment *assignment)
{
    for (int32_t i = 0; i < assignment->assigned_partitions_n; i++) {
        fputs(i == 0 ? "(" : ", (", stdout); /* without the topic, as 3.9's */
        for (int32_t j = 0; j < assignment->assigned_partitions[i].partitions_n; j++) {
            printf("%s%d", j == 0 ? "" : ",", assignment->assigned_partitions[i].partitions[j]);
        }
        putchar(')');
    }
}

static err describe_members(struct groups_call *call, const struct group_view *group)
{
    bool verbose = cli_has(&call->options, "verbose");
    struct widths w = widths_of(group);
    printf("\n%-*s %-*s %-*s %-*s %-15s %s\n", w.group, "GROUP", w.member, "CONSUMER-ID", w.host,
           "HOST", w.client, "CLIENT-ID", "#PARTITIONS", verbose ? "ASSIGNMENT" : "");
    for (int32_t i = 0; i < group->described.members_n; i++) {
        const struct describe_groups_response_member *m = &group->described.members[i];
        struct consumer_protocol_assignment assignment;
        TRY(group_assignment(&call->brokers, m, &assignment));
        int32_t partitions = 0;
        for (int32_t j = 0; j < assignment.assigned_partitions_n; j++) {
            partitions += assignment.assigned_partitions[j].partitions_n;
        }
        printf("%-*s %-*.*s %-*.*s %-*.*s %-15d ", w.group, group->id, w.member,
               (int)m->member_id.len, m->member_id.data, w.host, (int)m->client_host.len,
               m->client_host.data, w.client, (int)m->client_id.len, m->client_id.data, partitions);
        if (verbose) {
            print_assignment(&assignment);
        }
        putchar('\n');
    }
    return OK;
}

static void describe_state(struct groups_call *call, const struct group_view *group)
{
    char coordinator[300] = "";
    for (int32_t i = 0; i < call->brokers.nodes_n; i++) {
        const struct broker_node *node = &call->brokers.nodes[i];
        if (node->id == group->coordinator_id) {
            snprintf(coordinator, sizeof(coordinator), "%.*s:%d  (%d)", (int)node->host.len,
                     node->host.data, node->port, node->id);
        }
    }
    int width = wider(COORDINATOR_MIN, str_of(coordinator));
    int group_width = COORDINATOR_MIN; /* as in Kafka's, however long the name */
    const struct describe_groups_response_group *d = &group->described;
    printf("\n%-*s %-*s %-20s %-15s %s\n", group_width, "GROUP", width, "COORDINATOR (ID)",
           "ASSIGNMENT-STRATEGY", "STATE", "#MEMBERS");
    printf("%-*s %-*s %-20.*s %-15.*s %d\n", group_width, group->id, width, coordinator,
           (int)d->protocol_data.len, d->protocol_data.data, (int)d->group_state.len,
           d->group_state.data, d->members_n);
}

/* What is said of a group beside its rows. False: there is nothing to be shown. */
static bool say_state(const struct group_view *group)
{
    struct str state = group->described.group_state;
    if (str_is(state, "Dead")) {
        printf("\nError: Consumer group '%s' does not exist.\n", group->id);
        return false;
    }
    fflush(stdout);
    if (str_is(state, "Empty")) {
        fprintf(stderr, "\nConsumer group '%s' has no active members.\n", group->id);
    } else if (str_is(state, "PreparingRebalance") || str_is(state, "CompletingRebalance")) {
        fprintf(stderr, "\nWarning: Consumer group '%s' is rebalancing.\n", group->id);
    }
    return true;
}

static err describe(struct groups_call *call)
{
    for (size_t i = 0; i < call->groups_n; i++) {
        struct group_view group = {.id = call->groups[i]};
        TRY(group_describe(&call->brokers, &group));
        bool there = say_state(&group);
        if (!there && !cli_has(&call->options, "members")) {
            continue; /* members have their header all the same, as in Kafka's */
        }
        if (cli_has(&call->options, "members")) {
            TRY(describe_members(call, &group));
        } else if (cli_has(&call->options, "state")) {
            describe_state(call, &group);
        } else {
            TRY(describe_offsets(call, &group));
        }
    }
    return OK;
}

/* ---- delete ---- */

static const char *why_not_deleted(int16_t code)
{
    return code == ERR_NON_EMPTY_GROUP      ? "The group is not empty."
           : code == ERR_GROUP_ID_NOT_FOUND ? "The group id does not exist."
                                            : kafka_error_name(code);
}

static err delete (struct groups_call *call)
{
    size_t deleted_n = 0;
    for (size_t i = 0; i < call->groups_n; i++) {
        int16_t code = 0;
        TRY(group_delete(&call->brokers, call->groups[i], &code));
        if (code == 0) {
            call->groups[deleted_n++] = call->groups[i];
            continue;
        }
        if (i == deleted_n) {
            puts("\nError: Deletion of some consumer groups failed:");
        }
        printf("* Group '%s' could not be deleted due to: java.util.concurrent.ExecutionException: "
               "%s: %s\n",
               call->groups[i], kafka_exception(code), why_not_deleted(code));
    }
    bool all = deleted_n == call->groups_n;
    for (size_t i = 0; i < deleted_n; i++) {
        printf("%s'%s'",
               i > 0 ? ", "
               : all ? "Deletion of requested consumer groups ("
                     : "\nThese consumer groups were deleted successfully: ",
               call->groups[i]);
    }
    fputs(deleted_n == 0 ? "" : all ? ") was successful.\n" : "\n", stdout);
    return OK;
}

static err reset(struct groups_call *call)
{
    for (size_t i = 0; i < call->groups_n; i++) {
        TRY(groups_reset(&call->brokers, &call->options, call->groups[i]));
    }
    return OK;
}

/* ---- the command line ---- */

static err name_groups(struct groups_call *call)
{
    struct arena *arena = &call->brokers.arena;
    if (!cli_has(&call->options, "all-groups")) {
        call->groups = arena_array(arena, call->options.given_n + 1, sizeof(*call->groups));
        size_t at = 0;
        for (const char *group; (group = cli_next_value(&call->options, "group", &at)) != NULL;) {
            call->groups[call->groups_n++] = group;
        }
        return OK;
    }
    struct listed_group *all;
    size_t count;
    TRY(groups_list(&call->brokers, NULL, &all, &count));
    call->groups = arena_array(arena, count + 1, sizeof(*call->groups));
    for (size_t i = 0; call->groups != NULL && i < count; i++) {
        call->groups[call->groups_n++] = arena_str(arena, all[i].id).data;
    }
    return OK;
}

static int act(struct groups_call *call)
{
    err e = brokers_open(&call->brokers, cli_value(&call->options, "bootstrap-server"),
                         cli_value(&call->options, "command-config"), TIMEOUT_MS, true);
    e = e == OK ? name_groups(call) : e;
    if (e == OK) {
        e = cli_has(&call->options, "list")            ? list(call)
            : cli_has(&call->options, "delete")        ? delete (call)
            : cli_has(&call->options, "reset-offsets") ? reset(call)
                                                       : describe(call);
    }
    if (e != OK) {
        printf("\nError: Executing consumer group command failed due to %s\n",
               call->brokers.reason);
    }
    brokers_close(&call->brokers);
    return e == OK ? 0 : 1;
}

static int usage(const char *what)
{
    fprintf(stderr, "%s\n", what);
    cli_print_options(OPTIONS);
    return 1;
}

/* NULL: the command is whole. */
static const char *mistake(const struct cli_options *options)
{
    bool resets = cli_has(options, "reset-offsets");
    bool of_groups = cli_has(options, "describe") || cli_has(options, "delete") || resets;
    if (cli_has(options, "list") + cli_has(options, "describe") + cli_has(options, "delete") +
            resets !=
        1) {
        return "Command must include exactly one action: --list, --describe, --delete, "
               "--reset-offsets (--delete-offsets "
               "is not built)";
    }
    if (cli_value(options, "bootstrap-server") == NULL) {
        return "Missing required argument \"[bootstrap-server]\"";
    }
    if (of_groups && cli_has(options, "group") == cli_has(options, "all-groups")) {
        return "Either --group or --all-groups is needed, and not both";
    }
    if (cli_has(options, "members") && cli_has(options, "state")) {
        return "--members and --state do not go together";
    }
    return resets ? groups_reset_mistake(options) : NULL;
}

int tool_consumer_groups(int argc, char **argv)
{
    struct groups_call call = {0};
    char reason[CLI_REASON_BYTES];
    int status = 1;
    if (cli_options_parse(&call.options, OPTIONS, argc, argv, reason) != OK) {
        status = usage(reason);
    } else if (cli_has(&call.options, "help")) {
        status = usage("Lists, describes and deletes consumer groups.");
    } else if (cli_has(&call.options, "version")) {
        puts(CLI_KAFKA_VERSION);
        status = 0;
    } else if (mistake(&call.options) != NULL) {
        status = usage(mistake(&call.options));
    } else if (command_config_check(cli_value(&call.options, "command-config"), reason) != OK) {
        fprintf(stderr, "%s\n", reason);
    } else {
        status = act(&call);
    }
    cli_options_deinit(&call.options);
    return status;
}

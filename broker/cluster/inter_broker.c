/* Kafka numbers the steps of its protocol among brokers: 3.5-IV1 is the second one that was made for
 * 3.5. What a step changed for us is its row; a row holds until the next. */
#include "broker/cluster/inter_broker.h"

#include "base/refuse.h"

#include <string.h>

struct step {
    int major;
    int minor;
    int part;
    struct inter_broker versions;
};

/* LeaderAndIsr, UpdateMetadata, StopReplica, ControlledShutdown, Fetch, ListOffsets, producer ids,
 * /feature */
static const struct step STEPS[] = {
    {2, 8, 0, {4, 6, 3, 3, 12, 6, false, 1}}, {2, 8, 1, {5, 7, 3, 3, 12, 6, false, 1}},
    {3, 0, 0, {5, 7, 3, 3, 12, 6, true, 1}},  {3, 0, 1, {5, 7, 3, 3, 12, 7, true, 1}},
    {3, 1, 0, {5, 7, 3, 3, 13, 7, true, 1}},  {3, 2, 0, {6, 7, 3, 3, 13, 7, true, 1}},
    {3, 3, 0, {6, 7, 3, 3, 13, 7, true, 2}},  {3, 3, 3, {6, 7, 3, 3, 13, 7, true, 2}},
    {3, 4, 0, {7, 8, 4, 3, 13, 7, true, 2}},  {3, 5, 0, {7, 8, 4, 3, 14, 8, true, 2}},
    {3, 5, 1, {7, 8, 4, 3, 15, 8, true, 2}},  {3, 5, 2, {7, 8, 4, 3, 15, 8, true, 2}},
    {3, 6, 2, {7, 8, 4, 3, 15, 8, true, 2}},  {3, 7, 3, {7, 8, 4, 3, 15, 8, true, 2}},
    {3, 7, 4, {7, 8, 4, 3, 16, 8, true, 2}},  {3, 8, 0, {7, 8, 4, 3, 16, 8, true, 2}},
    {3, 9, 0, {7, 8, 4, 3, 17, 9, true, 2}},
};
enum { STEPS_N = sizeof(STEPS) / sizeof(STEPS[0]), ANY_PART = 1000 };

static int compare(const struct step *step, int major, int minor, int part)
{
    if (step->major != major) {
        return step->major < major ? -1 : 1;
    }
    if (step->minor != minor) {
        return step->minor < minor ? -1 : 1;
    }
    return step->part < part ? -1 : step->part > part;
}

/* The last part that a version has; -1: there is no such version. */
static int last_part(int major, int minor)
{
    int part = -1;
    for (size_t i = 0; i < STEPS_N; i++) {
        bool same = STEPS[i].major == major && STEPS[i].minor == minor;
        part = same ? STEPS[i].part : part;
    }
    return part;
}

/* One or two figures, and no more; NULL: there are none. */
static const char *read_number(const char *text, int *number)
{
    size_t figures = strspn(text, "0123456789");
    if (figures < 1 || figures > 2) {
        return NULL;
    }
    *number = figures == 1 ? text[0] - '0' : (text[0] - '0') * 10 + text[1] - '0';
    return text + figures;
}

/* What stands behind the prefix, NULL: it is not there. */
static const char *read_after(const char *text, const char *prefix)
{
    return text != NULL && strncmp(text, prefix, strlen(prefix)) == 0 ? text + strlen(prefix)
                                                                      : NULL;
}

/* False: it has not the form of a version. "2.8.1" is 2.8. */
static bool split(const char *text, int *major, int *minor, int *part)
{
    const char *rest = read_after(read_number(text, major), ".");
    rest = rest == NULL ? NULL : read_number(rest, minor);
    if (rest == NULL) {
        return false;
    }
    *part = ANY_PART;
    if (*rest == '.') {
        rest += 1 + strspn(rest + 1, "0123456789");
    }
    if (*rest == '\0') {
        return true;
    }
    rest = read_after(rest, "-IV");
    rest = rest == NULL ? NULL : read_number(rest, part);
    return rest != NULL && *rest == '\0';
}

err inter_broker_parse(const char *text, struct inter_broker *out, char *reason, size_t reason_size)
{
    int major = 0;
    int minor = 0;
    int part = 0;
    bool is_version = split(text, &major, &minor, &part);
    if (is_version && (major < 2 || (major == 2 && minor < 8))) {
        return refuse(reason, reason_size,
                      "option inter.broker.protocol.version: \"%.40s\" is too old; it must be at "
                      "least 2.8, so bring all brokers of the cluster to 2.8 first",
                      text);
    }
    int last = is_version ? last_part(major, minor) : -1;
    if (last < 0 || (part != ANY_PART && part > last)) {
        return refuse(reason, reason_size,
                      "option inter.broker.protocol.version: \"%.40s\" is not a version that this "
                      "broker knows; it must be from 2.8 to 3.9-IV0",
                      text);
    }
    for (size_t i = 0; i < STEPS_N && compare(&STEPS[i], major, minor, part) <= 0; i++) {
        *out = STEPS[i].versions;
    }
    return OK;
}

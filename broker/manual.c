/* The manual: what is to be known beside the table of options, and the table. Markdown; OPTIONS.md in
 * the tree is a copy, and a test compares them. */
#include "broker/config.h"

#include <stdio.h>

static const char INTRODUCTION[] =
    "# Options of the broker\n"
    "\n"
    "An option comes from server.properties (Kafka's own file will do), from a `KAFKA_...` "
    "variable of\n"
    "the environment (`KAFKA_LOG_DIRS` is `log.dirs`; `__` is an underscore, `___` a dash) or "
    "from\n"
    "`--override name=value`; the later wins. As in Kafka's images `CLUSTER_ID` is the id of a "
    "cluster\n"
    "that is made, and `KAFKA_ADVERTISED_LISTENERS` alone sets the listeners too. Dynamic options "
    "may also be kept in the "
    "coordination\n"
    "store, for one broker (`/config/brokers/N`) or for all (`/config/brokers/<default>`); these "
    "win\n"
    "over all others, the one broker's first. What topics inherit then changes at once, the rest "
    "at\n"
    "the next start. They are written by `kafka-configs --alter --entity-type brokers`, which can "
    "set "
    "what\n"
    "changes at once, by `kafka-configs --zookeeper` while the broker is stopped, or were by the "
    "Kafka "
    "broker\n"
    "that ran there before.\n"
    "\n"
    "## With ZooKeeper\n"
    "\n"
    "    zookeeper.connect=zk1:2181,zk2:2181,zk3:2181/kafka\n"
    "\n"
    "The path at the end, the chroot, is optional and must exist. To make it:\n"
    "\n"
    "    zookeeper-shell zk1:2181 create /kafka \"\"\n"
    "\n"
    "Start and stop are as without ZooKeeper: `ottla server.properties`, and SIGTERM. The start "
    "is\n"
    "refused, with one line, when no server answers within zookeeper.connection.timeout.ms, when\n"
    "meta.properties names another cluster or broker, and when another broker has registered with\n"
    "this broker.id. A broker.id that is registered by a session which is dying is\n"
    "waited for, as long as the session timeout; one's own session is taken up again at once\n"
    "(ottla-zookeeper-session in the first log directory, readable by its owner only).\n"
    "\n"
    "Without a connection to ZooKeeper records and groups go on; topics and configurations cannot "
    "be\n"
    "changed until it is back. After the session has expired the broker registers again by "
    "itself.\n"
    "TLS, SASL and ACLs towards ZooKeeper are not built, and options that ask for them are "
    "refused.\n"
    "\n"
    "## In the place of Apache Kafka, and back\n"
    "\n"
    "With a Kafka 3.x broker that is alone in its cluster, on ZooKeeper:\n"
    "\n"
    "    bin/kafka-server-stop.sh                       # wait until the process has ended\n"
    "    ottla config/server.properties                 # the same file, the same directories\n"
    "\n"
    "and back:\n"
    "\n"
    "    kill -TERM $(pidof ottla)                      # wait until the process has ended\n"
    "    bin/kafka-server-start.sh config/server.properties\n"
    "\n"
    "Either may have been killed: the next one checks the tail of the logs. Kafka refuses to "
    "start\n"
    "(NodeExists) while the session of a broker that was killed has not expired. Quotas are kept "
    "but not\n"
    "enforced.\n"
    "\n"
    "## The options\n"
    "\n"
    "All options of Kafka 3.9 are known. These are in force; the others are in the second table.\n"
    "\n"
    "| name | type | default | allowed | dynamic | meaning |\n"
    "|---|---|---|---|---|---|\n";

static const char PASSED_OVER[] =
    "\n"
    "## Options that are known and not in force\n"
    "\n"
    "With Kafka's default, or nothing, they are the same as not there. Any other value is checked "
    "as\n"
    "Kafka does, and then:\n"
    "\n"
    "- *warned*: passed over, and one warning at the start says what is lost;\n"
    "- *unused*: passed over in silence, because Kafka does not use it either without the feature "
    "that\n"
    "  is named, and that feature is refused or warned of by itself;\n"
    "- *refused*: the start is refused, because passing it over would take away protection or "
    "change\n"
    "  what the set-up means (for some only with zookeeper.connect).\n"
    "\n"
    "`listener.name.<listener>.<option>` is treated as the option; `max.connections` is in force "
    "there.\n"
    "A name that Kafka does not have is ignored with one warning.\n"
    "\n"
    "| name | type | default | allowed | what becomes of it |\n"
    "|---|---|---|---|---|\n";

static const char TOPICS_LOST[] = "\n"
                                  "## Options of topics that are kept and have no effect\n"
                                  "\n"
                                  "A topic that sets one gets one warning.\n"
                                  "\n"
                                  "| name | what is lost |\n"
                                  "|---|---|\n";

static void print_text(const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        printf(*c == '|' ? "\\|" : "%c", *c);
    }
}

static void print_head(const struct option *o)
{
    static const char *const TYPES[] = {"boolean", "short", "int",      "long", "double",
                                        "string",  "list",  "password", "class"};
    printf("| `%s` | %s | %s | ", o->name, TYPES[o->type],
           o->default_text == NULL ? "not set" : o->default_text);
    print_text(o->range);
}

static void print_in_force(const struct option *o)
{
    static const char *const DYNAMIC[] = {[READ_ONLY] = "",
                                          [PER_BROKER] = "per broker",
                                          [CLUSTER_WIDE] = "cluster-wide",
                                          [ONLY_DYNAMIC] = "only so"};
    print_head(o);
    printf(" | %s | %s |\n", DYNAMIC[o->dynamic], o->doc);
}

static void print_passed(const struct option *o)
{
    static const char *const FATES[] = {[FATE_IN_FORCE] = "",
                                        [FATE_PASSED] = "warned",
                                        [FATE_UNUSED] = "unused, it belongs to",
                                        [FATE_REFUSED] = "refused",
                                        [FATE_REFUSED_WITH_ZOOKEEPER] =
                                            "refused with zookeeper.connect"};
    print_head(o);
    printf(" | %s: %s |\n", FATES[o->fate], o->doc);
}

void config_print_manual(void)
{
    size_t count = 0;
    const struct option *options = config_options(&count);
    fputs(INTRODUCTION, stdout);
    for (size_t i = 0; i < count; i++) {
        if (options[i].fate == FATE_IN_FORCE) {
            print_in_force(&options[i]);
        }
    }
    fputs(PASSED_OVER, stdout);
    for (size_t i = 0; i < count; i++) {
        if (options[i].fate != FATE_IN_FORCE) {
            print_passed(&options[i]);
        }
    }
    fputs(TOPICS_LOST, stdout);
    const struct topic_option *topics = topic_options(&count);
    for (size_t i = 0; i < count; i++) {
        if (topics[i].lost != NULL) {
            printf("| `%s` | %s |\n", topics[i].name, topics[i].lost);
        }
    }
}

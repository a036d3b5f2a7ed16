/* Looks into the brokers and the store, and writes down what it finds: who presumes to lead, where logs end,
 * what the store says of leaders and ISRs; at the end, what is in the files. */
#ifndef OTTLA_SIM_OBSERVER_H
#define OTTLA_SIM_OBSERVER_H

#include "sim/history.h"
#include "sim/node.h"

/* How many different states were met: of brokers, and of a partition on them; as numbers, of which a few may
 * be the same. */
enum {
    STATE_NUMBERS = 1 << 14,
    OBSERVER_PARTITIONS_MAX = 16,
    OBSERVER_PATH_BYTES = 160,
    OBSERVER_NODE_BYTES = 512
};
struct state_set {
    uint8_t met[STATE_NUMBERS / 8];
};
void state_set_add_all(struct state_set *set, const struct state_set *more);
uint64_t state_set_count(const struct state_set *set);

/* What became of plans, as the topic's node tells. One that is over within TRUTH_US of its beginning counts
 * only when the replicas, or their order, are others. */
struct move_counts {
    uint64_t begun;
    uint64_t completed;
    uint64_t cancelled; /* the replicas are those of before */
    uint64_t replaced;
    uint64_t left_behind; /* replicas at who is no replica's broker: Kafka leaves those, too */
};

/* Where a partition is, and where it goes. */
struct placing {
    int32_t replicas[HISTORY_BROKERS_MAX];
    int32_t replicas_n;
    uint32_t all; /* bits by broker, as the next ones */
    uint32_t adding;
    uint32_t removing;
};

/* Who is no replica any more. */
struct leaving {
    int32_t office;      /* the controller's epoch then; -1: it was never one, or is one */
    bool was_waited_for; /* the move ended, and its broker was known to be there all the while */
};

/* What a broker's node says, and since when; empty: it is not there. */
struct registration {
    char node[OBSERVER_NODE_BYTES];
    int64_t since_us;
};

struct observer {
    struct sched *sched;
    struct coord_model *store;
    struct history *history;
    struct node *const *nodes; /* by id */
    int nodes_n;
    const char *topic;
    int partitions_n;
    char states_at[OBSERVER_PARTITIONS_MAX][OBSERVER_PATH_BYTES]; /* paths of the truth */
    int32_t noted[OBSERVER_PARTITIONS_MAX];   /* versions of the truth that were written down */
    int32_t offices[OBSERVER_PARTITIONS_MAX]; /* … and of /controller_epoch */
    uint32_t isrs[OBSERVER_PARTITIONS_MAX];   /* … and its members */
    bool joined[OBSERVER_PARTITIONS_MAX];     /* somebody has, and nobody has looked yet */
    int64_t
        promised[OBSERVER_PARTITIONS_MAX]; /* what lies below was acknowledged by all, given to a
                                                   consumer, or below a leader's high watermark */
    bool looks;
    struct state_set states; /* that were met */
    char topic_at[OBSERVER_PATH_BYTES];
    int32_t topic_noted; /* the version of the topic's node; -1: none */
    struct placing placings[OBSERVER_PARTITIONS_MAX]; /* … and what it said */
    struct placing begun_at[OBSERVER_PARTITIONS_MAX]; /* before it moved */
    struct registration registrations[HISTORY_BROKERS_MAX];
    uint32_t
        absent[OBSERVER_PARTITIONS_MAX]; /* of those that leave, who was not known to be there */
    struct leaving left[OBSERVER_PARTITIONS_MAX][HISTORY_BROKERS_MAX];
    struct move_counts moves;
};

void observer_init(struct observer *observer);

/* What the store says of a partition now, where that is news. */
void observer_note_truth(struct observer *observer, int partition);
/* Where partitions are, where that is news. */
void observer_note_placings(struct observer *observer);
/* What it says of a partition's leader and ISR now, whether it is news or not. False: there is none. */
bool observer_truth(const struct observer *observer, int partition, struct event *truth);
/* The preferred leader, and the controller's broker; -1: none. */
int observer_preferred(struct observer *observer, int partition);
/* How long a broker has not been registered; 0: it is. */
int64_t observer_gone_us(const struct observer *observer, int id);
int observer_controller(const struct observer *observer);
/* A client has been promised what lies below. */
void observer_note_promise(struct observer *observer, int partition, int64_t offset);
/* One look at one partition, by a task: it takes the broker's locks. Nothing is written down when the truth
 * changes meanwhile, or while another looks: what was seen first must stand first. */
void observer_look(struct observer *observer, int partition);
/* The batches of every replica's files below the least end of them. */
void observer_read_files(struct observer *observer);
/* By the store: do all partitions of the topic have a leader, all of their replicas in the ISR, and is none on
 * the move? */
bool observer_is_whole(struct observer *observer);
/* And by the brokers: are all of them at the same leader epoch and end? By a task, as a look. */
bool observer_is_settled(struct observer *observer);
/* Does nobody have files of a partition of which it is no replica? Passed over, and counted: who was not there
 * when its move ended, or was left out by another plan, under another controller than the present one, which
 * does not know of it; whose disk has had errors or was full. */
bool observer_is_tidy(struct observer *observer);

#endif

/* Mistakes that can be planted, to see whether the simulation, or a test, finds them. A file that is compiled with
 * -DOTTLA_PLANTED=<name> makes that one (sim/planted.cmake, storage/planted.cmake); nobody else compiles any: what is asked here is
 * known then, and nothing of it is left in the program.
 *
 * Each stands at the one place where the rule lives that it breaks. What they are, and after how many seeds
 * they are found: sim/README.md. */
#ifndef OTTLA_BASE_PLANTED_H
#define OTTLA_BASE_PLANTED_H

#include <stdbool.h>

enum mistake {
    MISTAKE_NONE,
    MISTAKE_CUT_TO_HIGH_WATERMARK, /* a follower begins at its high watermark (KIP-101) */
    MISTAKE_ONE_LOOK_UP,           /* a cut to the leader's end, and no second question (KIP-279) */
    MISTAKE_NO_FENCE,              /* a leader answers followers of any epoch (KIP-320) */
    MISTAKE_OUT_OF_RANGE,          /* beyond the leader's end: an error instead of the divergence */
    MISTAKE_COMMITTED_ISR,         /* who is about to join does not hold the high watermark back */
    MISTAKE_EARLY_JOINER,          /* joins without what was there before this leadership */
    MISTAKE_ACK_OF_FORMER_LIFE,    /* acknowledges what an earlier leadership appended */
    MISTAKE_MOVES_BELOW_MIN_ISR,   /* the high watermark, with too few in sync */
    MISTAKE_UNFENCED_CONTROLLER,   /* writes without a check of /controller_epoch */
    MISTAKE_ANY_WISH,        /* an ISR is changed for whoever led once, from whatever it was */
    MISTAKE_NO_BOUNCE,       /* another life of a broker is not the end of the last one */
    MISTAKE_LEAVES_EARLY,    /* a move ends before its target is in sync */
    MISTAKE_TELLS_UNFLUSHED, /* a follower tells what is not on its disk */
    /* Of transactions. */
    MISTAKE_ANSWERS_EARLY,     /* EndTxn, before its outcome is stored */
    MISTAKE_COMPLETES_EARLY,   /* a transaction is complete before its markers are written */
    MISTAKE_NO_NEW_EPOCH,      /* who takes too long is not fenced */
    MISTAKE_READS_UNDECIDED,   /* the last stable offset is the high watermark */
    MISTAKE_FORGETS_PENDING,   /* a load knows nothing of what transactions have not decided */
    MISTAKE_LOSES_ABORTED,     /* of a transaction that spans segments the index does not know */
    MISTAKE_OLD_EPOCH,         /* a former producer goes on */
    MISTAKE_FORGETS_TIMEOUTS,  /* after a load nobody looks whether a transaction takes too long */
    MISTAKE_SHOWS_PENDING,     /* offsets, before the marker */
    MISTAKE_NO_VERIFICATION,   /* whatever comes late is of the transaction that is open by then */
    MISTAKE_NO_SECOND_MARKERS, /* a load does not go on with what was decided */
    MISTAKE_GIVES_UP_MARKER,   /* on the first error */
    /* Of compaction: storage/planted.cmake, and the last by the simulation. */
    MISTAKE_TOMBSTONE_AT_ONCE,  /* a deletion marker goes with the record that it deletes */
    MISTAKE_MARKER_BEFORE_DATA, /* a transaction's marker goes while there are records of it */
    MISTAKE_CLEANS_UNDECIDED,   /* what is above the last stable offset is cleaned */
    MISTAKE_NEW_HORIZON,        /* each pass gives deletion markers more time */
    MISTAKE_OLDS_LAST,          /* the cleaned segment has its name before the old ones have gone */
    MISTAKE_CLEANED_AHEAD,      /* how far a log is cleaned is told before it is */
    MISTAKE_DROPS_SNAPSHOT,     /* the producers at a cleaned segment's begin go with the old one */
    MISTAKE_MERGES_TOO_FAR,     /* segments are merged whose offsets do not fit an index */
    MISTAKE_FORGETS_SEQUENCE,   /* of a producer nothing is left, not even a header */
    MISTAKE_ABORTED_STAYS,      /* what was aborted counts as any other record */
    MISTAKE_LOSES_ABORTED_TXN,  /* a cleaned segment has no index of aborted transactions */
    MISTAKE_NO_CLEANED_SYNC, /* the cleaned segment is not on the disk when it takes the others' place */
    /* Of crashes: storage/planted.cmake. */
    MISTAKE_NO_CRC_AT_RECOVERY,         /* a batch that looks whole is */
    MISTAKE_RECOVERY_POINT_BEFORE_DATA, /* a roll takes what it seals for flushed */
    MISTAKE_ACK_BEFORE_FLUSH,           /* a flush returns, and the data is not on the disk */
    MISTAKE_NO_SYNC_OF_DIR,             /* the data is, and has no name */
    MISTAKE_START_UNTOLD,               /* the start of a log whose old segments may come back */
    MISTAKE_OVERLAP_STAYS,              /* a segment behind a cut that a crash has undone */
    MISTAKE_MOVE_UNTOLD,     /* a moved log's former one goes before checkpoints know the new one */
    MISTAKE_SHORTER_STAYS,   /* of a log in two directories */
    MISTAKE_COPY_UNCOMPARED, /* a move goes on with what the log has lost */
    MISTAKE_STOP_UNSYNCED,   /* many logs are closed together, and none is on the disk */
};

#ifndef OTTLA_PLANTED
#define OTTLA_PLANTED NONE
#endif

#define MISTAKE_NAMED(name)  MISTAKE_NAMED_(name)
#define MISTAKE_NAMED_(name) MISTAKE_##name

static inline bool planted(enum mistake mistake)
{
    return mistake == MISTAKE_NAMED(OTTLA_PLANTED);
}

#endif

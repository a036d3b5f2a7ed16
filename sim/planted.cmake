# One program for each mistake of base/planted.h: `simulate`, with the one file compiled again that makes it. The
# linker takes that before the library's. Each is a test: the mistake must be found. Those that take long run with
# `ctest -C plants` only; sim/plants runs all, and prints after how many seeds.
set(PLANTED
    CUT_TO_HIGH_WATERMARK:replica/partition_follower.c:QUICK
    ONE_LOOK_UP:replica/partition_follower.c:QUICK
    NO_FENCE:replica/partition.c:QUICK
    OUT_OF_RANGE:replica/read.c:QUICK
    COMMITTED_ISR:replica/partition_isr.c:LONG
    EARLY_JOINER:replica/partition_isr.c:QUICK
    ACK_OF_FORMER_LIFE:replica/partition.c:QUICK
    MOVES_BELOW_MIN_ISR:replica/partition.c:QUICK
    UNFENCED_CONTROLLER:cluster/controller_store.c:LONG
    ANY_WISH:cluster/controller_decide.c:QUICK
    LEAVES_EARLY:cluster/controller_reassign.c:QUICK
    NO_BOUNCE:cluster/controller_state.c,cluster/controller_decide.c:QUICK
    TELLS_UNFLUSHED:replica/partition_follower.c:QUICK
    ANSWERS_EARLY:coordinator/txn_shard.c:TXNS
    COMPLETES_EARLY:coordinator/txn_shard.c:TXNS
    NO_NEW_EPOCH:coordinator/txn.c:TXNS
    READS_UNDECIDED:../storage/plog_txns.c:TXNS
    FORGETS_PENDING:coordinator/group_load.c:TXNS
    LOSES_ABORTED:../storage/plog.c:TXNS
    OLD_EPOCH:coordinator/txn.c:TXNS
    FORGETS_TIMEOUTS:coordinator/txn_shard.c:TXNS
    SHOWS_PENDING:api/handlers/28_txn_offset_commit.c:TXNS
    NO_VERIFICATION:../storage/producers.c,../storage/plog_producers.c:TXNS_LONG
    NO_SECOND_MARKERS:coordinator/txn_shard.c:TXNS
    GIVES_UP_MARKER:coordinator/txn_markers.c:TXNS
    NO_CLEANED_SYNC:../storage/clean_files.c:COMPACT)
foreach(each ${PLANTED})
    string(REPLACE ":" ";" each ${each})
    list(GET each 0 name)
    list(GET each 1 source)
    list(GET each 2 time)
    string(REPLACE "," ";" source ${source})
    list(TRANSFORM source PREPEND ${CMAKE_SOURCE_DIR}/broker/)
    string(TOLOWER simulate_${name} target)
    set(moves never)
    if(name STREQUAL "LEAVES_EARLY")
        set(moves always)
    endif()
    add_executable(${target} main.c ${source})
    target_compile_definitions(${target} PRIVATE OTTLA_PLANTED=${name})
    target_link_libraries(${target} PRIVATE sim)
    if(time STREQUAL "COMPACT")
        add_test(NAME ${target} COMMAND ${target} --brokers 3 --txns --compact --moves never --seeds 1-2000 --find)
    elseif(time STREQUAL "TXNS")
        add_test(NAME ${target} COMMAND ${target} --brokers 3 --txns --moves never --seeds 1-2000 --find)
    elseif(time STREQUAL "TXNS_LONG")
        add_test(NAME ${target} CONFIGURATIONS plants
            COMMAND ${target} --brokers 3 --txns --moves never --seeds 1-2000 --find)
    elseif(time STREQUAL "QUICK")
        add_test(NAME ${target} COMMAND ${target} --brokers 3 --moves ${moves} --seeds 1-2000 --find)
    else()
        add_test(NAME ${target} CONFIGURATIONS plants COMMAND ${target} --brokers 3 --moves ${moves} --seeds 1-2000 --find)
    endif()
    set_tests_properties(${target} PROPERTIES LABELS plants TIMEOUT 900)
endforeach()

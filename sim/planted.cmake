# One program for each mistake of base/planted.h: `simulate`, with the one file compiled again that makes it. The
# linker takes that before the library's.
set(PLANTED
    CUT_TO_HIGH_WATERMARK:replica/partition_follower.c
    ONE_LOOK_UP:replica/partition_follower.c
    NO_FENCE:replica/partition.c
    OUT_OF_RANGE:replica/read.c
    COMMITTED_ISR:replica/partition_isr.c
    EARLY_JOINER:replica/partition_isr.c
    ACK_OF_FORMER_LIFE:replica/partition.c
    MOVES_BELOW_MIN_ISR:replica/partition.c
    UNFENCED_CONTROLLER:cluster/controller_store.c
    ANY_WISH:cluster/controller_decide.c
    NO_BOUNCE:cluster/controller_state.c
    TELLS_UNFLUSHED:replica/partition_follower.c)
foreach(each ${PLANTED})
    string(REPLACE ":" ";" each ${each})
    list(GET each 0 name)
    list(GET each 1 source)
    string(TOLOWER simulate_${name} target)
    add_executable(${target} main.c ${CMAKE_SOURCE_DIR}/broker/${source})
    target_compile_definitions(${target} PRIVATE OTTLA_PLANTED=${name})
    target_link_libraries(${target} PRIVATE sim)
endforeach()

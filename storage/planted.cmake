# One program for each mistake of base/planted.h about compaction: test_storage_clean, with the one file compiled again that
# makes it. Each is a test: the mistake must be found.
set(PLANTED_CLEAN
    TOMBSTONE_AT_ONCE:clean.c
    MARKER_BEFORE_DATA:clean.c
    NEW_HORIZON:clean.c
    FORGETS_SEQUENCE:clean.c
    ABORTED_STAYS:clean.c
    LOSES_ABORTED_TXN:clean.c
    CLEANS_UNDECIDED:plog_clean.c
    OLDS_LAST:plog_clean.c
    CLEANED_AHEAD:plog_clean.c
    DROPS_SNAPSHOT:plog_clean.c
    MERGES_TOO_FAR:plog_clean.c)
foreach(each ${PLANTED_CLEAN})
    string(REPLACE ":" ";" each ${each})
    list(GET each 0 name)
    list(GET each 1 source)
    string(TOLOWER clean_finds_${name} target)
    add_executable(${target} tests/test_clean.c ${source})
    target_compile_definitions(${target} PRIVATE OTTLA_PLANTED=${name} SOURCE_DIR="${CMAKE_CURRENT_SOURCE_DIR}")
    target_link_libraries(${target} PRIVATE storage ${CUNIT})
    add_test(NAME ${target} COMMAND sh -c "! $<TARGET_FILE:${target}>")
    set_tests_properties(${target} PROPERTIES LABELS plants TIMEOUT 300)
endforeach()

# The same for crashes: test_storage_crash_points with the scenario that finds it.
set(PLANTED_CRASH
    "NO_CRC_AT_RECOVERY:whole_scan.c:append across a roll"
    "RECOVERY_POINT_BEFORE_DATA:plog_change.c:flush and checkpoint"
    "ACK_BEFORE_FLUSH:segment.c:flush and checkpoint"
    "NO_SYNC_OF_DIR:plog.c:flush and checkpoint"
    "START_UNTOLD:plog.c:delete records"
    "OVERLAP_STAYS:recovery.c:truncate"
    "MOVE_UNTOLD:logs_move.c:move"
    "SHORTER_STAYS:logs_move.c:move"
    "COPY_UNCOMPARED:logs_move.c:move ahead of the log"
    "STOP_UNSYNCED:logs.c:clean stop at once"
    "OLDS_LAST:plog_clean.c:clean"
    "NO_CLEANED_SYNC:clean_files.c:clean and merge")
foreach(each ${PLANTED_CRASH})
    string(REPLACE ":" ";" each ${each})
    list(GET each 0 name)
    list(GET each 1 source)
    list(GET each 2 scenario)
    string(TOLOWER crash_finds_${name} target)
    add_executable(${target} tests/test_crash_points.c ${source})
    target_compile_definitions(${target} PRIVATE OTTLA_PLANTED=${name})
    target_link_libraries(${target} PRIVATE storage_crash ${CUNIT})
    add_test(NAME ${target} COMMAND sh -c "! $<TARGET_FILE:${target}> test_scenarios")
    set_tests_properties(${target} PROPERTIES LABELS plants TIMEOUT 300 ENVIRONMENT "OTTLA_CRASH_AT=${scenario}")
endforeach()

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

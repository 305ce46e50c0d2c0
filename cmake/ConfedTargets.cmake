# confed_library(NAME SOURCES… LIBS…): one static library a folder.
function(confed_library name)
    cmake_parse_arguments(ARG "" "" "SOURCES;LIBS" ${ARGN})
    if(ARG_SOURCES)
        add_library(${name} STATIC ${ARG_SOURCES})
        target_link_libraries(${name} PRIVATE confed_flags PUBLIC ${ARG_LIBS})
    else()
        add_library(${name} INTERFACE)
        target_link_libraries(${name} INTERFACE ${ARG_LIBS})
    endif()
endfunction()

# confed_program(NAME SOURCES… LIBS…): an installed program.
function(confed_program name)
    cmake_parse_arguments(ARG "" "" "SOURCES;LIBS" ${ARGN})
    add_executable(${name} ${ARG_SOURCES})
    target_link_libraries(${name} PRIVATE confed_flags ${ARG_LIBS})
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
    install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endfunction()

# For all tests and the daemons that they start. gRPC and the other libraries are not instrumented:
# what they do to memory among themselves is not looked at. A report makes the exit status 66.
set(confed_tsan_options "ignore_noninstrumented_modules=1:exitcode=66")

# confed_test(NAME SOURCES… LIBS… LABELS… [TIMEOUT s]): one cmocka program, one ctest of that name
# ("unit.common.base.buf").
function(confed_test name)
    cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LIBS;LABELS" ${ARGN})
    add_executable(${name} ${ARG_SOURCES})
    target_link_libraries(${name} PRIVATE confed_flags ${ARG_LIBS} PkgConfig::CMOCKA)
    add_test(NAME ${name} COMMAND ${name})
    if(NOT ARG_TIMEOUT)
        set(ARG_TIMEOUT 120)
    endif()
    set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}"
        FAIL_REGULAR_EXPRESSION "WARNING: ThreadSanitizer" # also from a daemon that is killed
        ENVIRONMENT "TSAN_OPTIONS=${confed_tsan_options};GRPC_DNS_RESOLVER=native")
endfunction()

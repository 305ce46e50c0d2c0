# One target carries the compiler's flags for all of our code: link confed_flags, set nothing else.
add_library(confed_flags INTERFACE)
target_compile_definitions(confed_flags INTERFACE _POSIX_C_SOURCE=200809L _DEFAULT_SOURCE
    CONFED_VERSION="${PROJECT_VERSION}")
target_include_directories(confed_flags INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_features(confed_flags INTERFACE c_std_17)
set(CMAKE_C_EXTENSIONS OFF)
# -ffp-contract=off: every kernel and every CPU gives the bits of the plain C one.
target_compile_options(confed_flags INTERFACE
    -ffp-contract=off -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion
    -Wstrict-prototypes -Wold-style-definition -Wmissing-prototypes -Wmissing-declarations
    -Wredundant-decls -Wnested-externs -Wpointer-arith -Wcast-align -Wcast-qual -Wwrite-strings
    -Wundef -Wvla -Wformat=2 -Wdate-time -Wdouble-promotion -Wnull-dereference
    -Wimplicit-fallthrough -Wswitch-enum -Wunused -Wunused-result -Wfloat-equal -Winit-self
    -fno-common -fstack-protector-strong -fvisibility=hidden)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
    target_compile_options(confed_flags INTERFACE
        -Wlogical-op -Wduplicated-cond -Wduplicated-branches -Wjump-misses-init -Walloc-zero
        -Wformat-signedness -Wformat-overflow=2 -Wformat-truncation=1 -Wimplicit-fallthrough=5
        -Wsuggest-attribute=noreturn -Wtrampolines)
else()
    # The _INIT macros of protobuf-c cast const away; gcc keeps the watch over ours.
    target_compile_options(confed_flags INTERFACE -Wno-cast-qual
        -Wcomma -Wunreachable-code -Wconditional-uninitialized -Wshorten-64-to-32
        -Wextra-semi-stmt -Wmissing-variable-declarations -Wno-gnu-statement-expression)
endif()
if(CONFED_FAULTS)
    target_compile_definitions(confed_flags INTERFACE CONFED_FAULTS)
endif()
if(CONFED_WERROR)
    target_compile_options(confed_flags INTERFACE -Werror)
endif()

# Assertions stay in: an invariant that does not hold is a bug in every build.
string(REPLACE "-DNDEBUG" "" CMAKE_C_FLAGS_RELEASE "${CMAKE_C_FLAGS_RELEASE}")
set(CMAKE_C_FLAGS_RELEASE "-O2 -g")
if(CMAKE_BUILD_TYPE STREQUAL "Release")
    target_compile_options(confed_flags INTERFACE
        -D_FORTIFY_SOURCE=2 -fstack-clash-protection)
    if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
        target_compile_options(confed_flags INTERFACE -fcf-protection)
    endif()
    add_link_options(-Wl,-z,relro,-z,now)
endif()
if(CONFED_SANITIZE)
    add_compile_options(-fsanitize=${CONFED_SANITIZE} -fno-omit-frame-pointer)
    add_link_options(-fsanitize=${CONFED_SANITIZE})
    if(CONFED_SANITIZE MATCHES "undefined")
        add_compile_options(-fno-sanitize-recover=undefined)
    endif()
endif()

if(CONFED_FUZZ) # coverage for libFuzzer, in all of our code
    add_compile_options(-fsanitize=fuzzer-no-link)
endif()

find_program(CCACHE ccache)
if(CCACHE AND NOT CMAKE_C_COMPILER_LAUNCHER)
    set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
endif()

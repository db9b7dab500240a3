# Warnings, hardening and sanitizers, for everything that this project compiles.

add_compile_options(
    -Wall -Wextra -Wshadow -Wvla -Wundef -Wwrite-strings -Wpointer-arith -Wcast-qual -Wformat=2
    -Wstrict-prototypes -Wmissing-prototypes -Wimplicit-fallthrough -Wdate-time -fno-common
    -fno-strict-overflow -fno-delete-null-pointer-checks
    -ffile-prefix-map=${CMAKE_SOURCE_DIR}=.)
add_compile_definitions(_GNU_SOURCE)
if(FNGATE_WERROR)
    add_compile_options(-Werror)
endif()

set(CMAKE_C_FLAGS_RELEASE "-O2 -g")
set(CMAKE_C_FLAGS_DEBUG "-O0 -g3")

if(FNGATE_SANITIZE)
    add_compile_options(-fsanitize=${FNGATE_SANITIZE} -fno-omit-frame-pointer
                        -fno-sanitize-recover=all)
    # gcc sees uninitialised reads in its own instrumentation.
    add_compile_options($<$<C_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
    add_link_options(-fsanitize=${FNGATE_SANITIZE})
else()
    # Fortified sources hide findings from sanitizers, so only without them.
    add_compile_options($<$<CONFIG:Release>:-U_FORTIFY_SOURCE> $<$<CONFIG:Release>:-D_FORTIFY_SOURCE=3>
                        -fstack-protector-strong -fstack-clash-protection
                        -ftrivial-auto-var-init=zero)
    if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
        add_compile_options(-fcf-protection=full)
    endif()
    add_link_options(-Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed)
endif()
if(FNGATE_COVERAGE)
    add_compile_options(--coverage -fprofile-update=atomic)
    add_link_options(--coverage)
endif()
if(FNGATE_FUZZ)
    add_compile_options(-fsanitize=fuzzer-no-link)
endif()

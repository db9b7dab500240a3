# Third-party packages, each used in one or two folders of core/.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(LIBEVENT REQUIRED IMPORTED_TARGET libevent_core)
pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(OPENSSL REQUIRED IMPORTED_TARGET openssl)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
pkg_check_modules(CMOCKA IMPORTED_TARGET cmocka)

# llhttp: a system library where there is one, else the C sources that Debian ships in node-llhttp,
# which must be built in strict mode.
find_path(LLHTTP_INCLUDE llhttp.h PATHS /usr/include /usr/local/include /usr/share/include/llhttp)
find_library(LLHTTP_LIBRARY llhttp)
if(LLHTTP_LIBRARY AND LLHTTP_INCLUDE)
    add_library(llhttp INTERFACE)
    target_link_libraries(llhttp INTERFACE ${LLHTTP_LIBRARY})
    target_include_directories(llhttp SYSTEM INTERFACE ${LLHTTP_INCLUDE})
elseif(EXISTS /usr/share/llhttp/llhttp.c)
    add_library(llhttp STATIC /usr/share/llhttp/api.c /usr/share/llhttp/http.c
                              /usr/share/llhttp/llhttp.c)
    target_include_directories(llhttp SYSTEM PUBLIC /usr/share/include/llhttp)
    target_compile_definitions(llhttp PUBLIC LLHTTP_STRICT_MODE=1)
    target_compile_options(llhttp PRIVATE -w)
else()
    message(FATAL_ERROR "llhttp is missing: apt-get install node-llhttp")
endif()

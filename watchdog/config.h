/* Settings of the watchdog: environment variables, named and read as of-watchdog and the classic
 * watchdog do, plus our own. */
#ifndef WATCHDOG_CONFIG_H
#define WATCHDOG_CONFIG_H

#include "base/err.h"
#include "loop/addr.h"

enum mode {
    MODE_STREAMING,   /* a process per request, both bodies piped as they come */
    MODE_SERIALIZING, /* a process per request, both bodies whole */
    MODE_CLASSIC,     /* as serializing, with the habits of the classic watchdog */
    MODE_HTTP,        /* one process that serves HTTP */
    MODE_STATIC       /* files */
};

enum { UPSTREAM_ADDRS_MAX = 2 };

struct config {
    enum mode mode;
    char **argv; /* fprocess, NULL-terminated; NULL when there is none */
    /* http: where the process listens; "localhost" is tried in both families */
    struct addr upstream[UPSTREAM_ADDRS_MAX];
    unsigned upstream_count;
    unsigned port;
    unsigned metrics_port; /* 0: none */
    int64_t read_timeout_ms, write_timeout_ms;
    int64_t exec_timeout_ms; /* 0: none */
    int64_t healthcheck_interval_ms;
    struct str content_type; /* len 0: not set */
    struct str static_path;
    struct str ready_path; /* len 0: none */
    char *lock_file;
    unsigned max_inflight; /* 0: no limit */
    int64_t log_buffer;    /* longest line that is kept together; negative: no limit */
    uint64_t body_max;     /* bytes of a body that is kept in memory; 0: no limit */
    bool buffer_http;      /* the request's body is complete before it goes upstream */
    bool prefix_logs;
    bool suppress_lock;
    bool log_callid;
    bool term_child_first; /* SIGTERM reaches the process before the drain, as in of-watchdog */
    bool combine_output;   /* classic: stderr belongs to the answer */
    bool cgi_headers;      /* fork modes: Http_* in the environment */
    bool marshal_request;  /* classic: JSON envelope on stdin */
    bool write_debug;      /* classic: outputs are logged */
};

/* Reads the environment. 0 or -EINVAL with a text that names the variable. */
int config_read(struct config *config, struct err *err);

/* Cuts a command line at single spaces, or, with `quoting`, at white space outside of '...', "..."
 * and backslashes. NULL when a quote is not closed or nothing is left. Owned, for good. */
char **config_split_command(const char *text, bool quoting);

/* The path of the lock file: $TMPDIR/.lock. Owned. */
char *config_lock_file(void);

#endif

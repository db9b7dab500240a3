/* One SQLite file and the connections to it: opening, checking, schema, and errors in words. */
#ifndef STORE_SQLITE_DATABASE_H
#define STORE_SQLITE_DATABASE_H

#include <fngate/host.h>

#include <sqlite3.h>

enum statement {
    STATEMENT_BEGIN,
    STATEMENT_COMMIT,
    STATEMENT_ROLLBACK,
    STATEMENT_GET,
    STATEMENT_PUT,
    STATEMENT_REMOVE,
    STATEMENT_LIST,
    STATEMENT_NEXT_VERSION,
    STATEMENT_LEASE_GET,
    STATEMENT_LEASE_PUT,
    STATEMENT_LEASE_REMOVE,
    STATEMENT_COUNT
};

/* A connection with its prepared statements. Used by one thread at a time. */
struct database {
    const struct fng_host *host;
    const char *file; /* borrowed */
    sqlite3 *handle;
    sqlite3_stmt *statements[STATEMENT_COUNT];
};

/* Creates the file with mode 0600 when there is none. 0 or FNG_E_*, with the text recorded. */
int32_t database_create(const struct fng_host *host, const char *file);
/* Opens an existing file, checks whose it is and whether it is sound, and brings the schema up to
 * date. For the first connection. */
int32_t database_open_first(struct database *db, const struct fng_host *host, const char *file,
                            int64_t busy_timeout_ms);
/* Another connection, for reading. */
int32_t database_open_reader(struct database *db, const struct fng_host *host, const char *file,
                             int64_t busy_timeout_ms);
/* Harmless on a zeroed or closed one. */
void database_close(struct database *db);

/* Binds bytes; an empty string is an empty blob, not NULL. */
void database_bind(sqlite3_stmt *statement, int index, struct fng_str bytes);
/* The bytes of a column, valid until the statement moves on. */
struct fng_str database_column(sqlite3_stmt *statement, int column);
/* Steps and resets a statement that returns no row. SQLITE_DONE or an error. */
int database_run(struct database *db, enum statement which);
/* Says in words why the last call on this connection failed and returns the class. */
int32_t database_fail(struct database *db, const char *doing);

#endif

/* One SQLite file and the connections to it: opening, checking, schema, and errors in words.
 *
 * WAL with synchronous=FULL: a commit has reached the medium when it returns, readers and the
 * writer do not wait for each other. The file says whose it is (application_id) and which schema it
 * has (user_version), so that neither a stranger's database nor a newer one is ever written to.
 */
#include "database.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <unistd.h>

enum { SCHEMA_VERSION = 1, APPLICATION_ID = 0x666e6773 /* "fngs" */, RETRY_AFTER_MS = 1000 };

/* The counter gives versions; it never goes back, so a key that was removed and made anew has
 * another version than before. A lease ends with the boot it was taken in. */
static const char schema[] =
    "CREATE TABLE kv (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL, version INTEGER NOT "
    "NULL);"
    "CREATE TABLE counter (version INTEGER NOT NULL);"
    "INSERT INTO counter VALUES (0);"
    "CREATE TABLE lease (name BLOB PRIMARY KEY NOT NULL, owner BLOB NOT NULL, boot TEXT NOT NULL,"
    "                    until_ms INTEGER NOT NULL);";

static const char *const statement_texts[STATEMENT_COUNT] = {
    [STATEMENT_BEGIN] = "BEGIN IMMEDIATE",
    [STATEMENT_COMMIT] = "COMMIT",
    [STATEMENT_ROLLBACK] = "ROLLBACK",
    [STATEMENT_GET] = "SELECT value, version FROM kv WHERE key = ?1",
    [STATEMENT_PUT] = "INSERT INTO kv VALUES (?1, ?2, ?3) ON CONFLICT (key) DO UPDATE"
                      " SET value = excluded.value, version = excluded.version",
    [STATEMENT_REMOVE] = "DELETE FROM kv WHERE key = ?1",
    [STATEMENT_LIST] = "SELECT key, value, version FROM kv WHERE key >= ?1 ORDER BY key",
    [STATEMENT_NEXT_VERSION] = "UPDATE counter SET version = version + 1 RETURNING version",
    [STATEMENT_LEASE_GET] = "SELECT owner, until_ms FROM lease WHERE name = ?1 AND boot = ?2",
    [STATEMENT_LEASE_PUT] = "INSERT OR REPLACE INTO lease VALUES (?1, ?2, ?3, ?4)",
    [STATEMENT_LEASE_REMOVE] = "DELETE FROM lease WHERE name = ?1",
};

int32_t database_fail(struct database *db, const char *doing)
{
    int code = sqlite3_extended_errcode(db->handle);
    const char *why = sqlite3_errmsg(db->handle);
    int system_errno = sqlite3_system_errno(db->handle);

    switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return fng_fail(db->host, FNG_E_INTERNAL,
                        "%s: %s: the file is damaged or not a database (%s): restore a copy, or "
                        "move it away to begin with an empty store",
                        db->file, doing, why);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return fng_unavailable(db->host, RETRY_AFTER_MS,
                               "%s: %s: another process kept it locked for longer than "
                               "'busy_timeout'",
                               db->file, doing);
    case SQLITE_FULL:
        return fng_unavailable(db->host, RETRY_AFTER_MS, "%s: %s: no space left on its disk",
                               db->file, doing);
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return fng_unavailable(db->host, RETRY_AFTER_MS, "%s: %s: %s (code %d, %s)", db->file,
                               doing, why, code,
                               system_errno ? strerror(system_errno) : "no system error");
    case SQLITE_NOMEM:
        return fng_unavailable(db->host, RETRY_AFTER_MS, "%s: %s: out of memory", db->file, doing);
    default:
        return fng_fail(db->host, FNG_E_INTERNAL, "%s: %s: %s (code %d)", db->file, doing, why,
                        code);
    }
}

void database_bind(sqlite3_stmt *statement, int index, struct fng_str bytes)
{
    sqlite3_bind_blob(statement, index, bytes.len ? bytes.ptr : "", (int)bytes.len, SQLITE_STATIC);
}

struct fng_str database_column(sqlite3_stmt *statement, int column)
{
    const char *bytes = sqlite3_column_blob(statement, column);

    return fng_str_make(bytes ? bytes : "", (size_t)sqlite3_column_bytes(statement, column));
}

int database_run(struct database *db, enum statement which)
{
    sqlite3_stmt *statement = db->statements[which];
    int result = sqlite3_step(statement);

    sqlite3_reset(statement);
    return result;
}

/* A new file is in its folder for good only when the folder was written too. */
static int sync_folder(const char *file)
{
    char *copy = strdup(file);
    int fd, result = -1;

    if (!copy)
        return -1;

    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(copy);
    if (fd >= 0) {
        result = fsync(fd);
        close(fd);
    }
    return result;
}

int32_t database_create(const struct fng_host *host, const char *file)
{
    int fd;

    /* SQLite gives the files beside it the same mode. An existing file is not opened here: closing
     * it would drop the locks of any connection that this process has to it. */
    if (access(file, F_OK) == 0)
        return 0;
    fd = open(file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST)
        return 0;
    if (fd < 0)
        return fng_fail(host, FNG_E_UNAVAILABLE, "cannot create %s: %s", file, strerror(errno));

    close(fd);
    if (sync_folder(file) != 0)
        return fng_fail(host, FNG_E_UNAVAILABLE, "cannot sync the folder of %s: %s", file,
                        strerror(errno));
    return 0;
}

static int32_t execute(struct database *db, const char *doing, const char *text)
{
    if (sqlite3_exec(db->handle, text, NULL, NULL, NULL) != SQLITE_OK)
        return database_fail(db, doing);
    return 0;
}

/* First column of the first row, as a number. */
static int32_t query_number(struct database *db, const char *text, int64_t *ret)
{
    sqlite3_stmt *statement;
    int result = sqlite3_prepare_v2(db->handle, text, -1, &statement, NULL);

    if (result == SQLITE_OK)
        result = sqlite3_step(statement);
    if (result == SQLITE_ROW) {
        *ret = sqlite3_column_int64(statement, 0);
        sqlite3_finalize(statement);
        return 0;
    }
    int32_t error = database_fail(db, "cannot be read");
    sqlite3_finalize(statement);
    return error;
}

/* All statements of the connection; their texts are ours, so only the file can be wrong. */
static int32_t prepare(struct database *db)
{
    for (int i = 0; i < STATEMENT_COUNT; i++)
        if (sqlite3_prepare_v3(db->handle, statement_texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &db->statements[i], NULL) != SQLITE_OK)
            return database_fail(db, "cannot be used");
    return 0;
}

static int32_t open_handle(struct database *db, const struct fng_host *host, const char *file,
                           int64_t busy_timeout_ms)
{
    memset(db, 0, sizeof(*db));
    db->host = host;
    db->file = file;
    if (sqlite3_open_v2(file, &db->handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) !=
        SQLITE_OK)
        return database_fail(db, "cannot be opened");
    sqlite3_extended_result_codes(db->handle, 1);
    sqlite3_busy_timeout(db->handle, (int)busy_timeout_ms);
    return 0;
}

/* Is it ours, and not newer than we know? *ret_version is 0 for an empty file. */
static int32_t check_identity(struct database *db, int64_t *ret_version)
{
    int64_t id, objects;
    int32_t error;

    if ((error = query_number(db, "PRAGMA application_id", &id)) != 0 ||
        (error = query_number(db, "PRAGMA user_version", ret_version)) != 0 ||
        (error = query_number(db, "SELECT count(*) FROM sqlite_schema", &objects)) != 0)
        return error;

    if (id != APPLICATION_ID && (id != 0 || objects != 0))
        return fng_fail(db->host, FNG_E_INVALID,
                        "%s is a database of another program: give 'path' another file", db->file);
    if (*ret_version > SCHEMA_VERSION)
        return fng_fail(db->host, FNG_E_UNSUPPORTED,
                        "%s has schema version %lld, and this fngate knows versions up to %d: "
                        "run the newer fngate that wrote it, or give 'path' another file",
                        db->file, (long long)*ret_version, SCHEMA_VERSION);
    return 0;
}

static int32_t check_soundness(struct database *db)
{
    sqlite3_stmt *statement;
    int32_t error = 0;

    if (sqlite3_prepare_v2(db->handle, "PRAGMA quick_check(1)", -1, &statement, NULL) !=
            SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW) {
        error = database_fail(db, "cannot be checked");
    } else if (strcmp((const char *)sqlite3_column_text(statement, 0), "ok") != 0) {
        error = fng_fail(db->host, FNG_E_INTERNAL,
                         "%s: the file is damaged (%s): restore a copy, or move it away to begin "
                         "with an empty store",
                         db->file, sqlite3_column_text(statement, 0));
    }
    sqlite3_finalize(statement);
    return error;
}

static int32_t create_schema(struct database *db)
{
    char identity[128];
    int32_t error;
    int64_t version;

    if ((error = execute(db, "cannot be locked", "BEGIN IMMEDIATE")) != 0)
        return error;

    /* Another process may have been faster. */
    error = query_number(db, "PRAGMA user_version", &version);
    if (error == 0 && version == 0) {
        snprintf(identity, sizeof(identity), "PRAGMA application_id=%d; PRAGMA user_version=%d",
                 APPLICATION_ID, SCHEMA_VERSION);
        error = execute(db, "cannot be set up", schema);
        if (error == 0)
            error = execute(db, "cannot be set up", identity);
    }
    if (error == 0)
        error = execute(db, "cannot be set up", "COMMIT");
    if (error != 0)
        sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
    return error;
}

/* Readers beside the writer need WAL, and WAL needs memory shared between processes, which network
 * file systems do not offer. */
static int32_t use_wal(struct database *db)
{
    sqlite3_stmt *statement;
    int32_t error = 0;

    if (sqlite3_prepare_v2(db->handle, "PRAGMA journal_mode=WAL", -1, &statement, NULL) !=
            SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW)
        error = database_fail(db, "cannot be set up");
    else if (strcmp((const char *)sqlite3_column_text(statement, 0), "wal") != 0)
        error = fng_fail(
            db->host, FNG_E_UNSUPPORTED,
            "%s: its file system cannot do write-ahead logging: put it on a local disk", db->file);
    sqlite3_finalize(statement);
    return error;
}

int32_t database_open_first(struct database *db, const struct fng_host *host, const char *file,
                            int64_t busy_timeout_ms)
{
    int64_t version = 0;
    int32_t error;

    if ((error = open_handle(db, host, file, busy_timeout_ms)) != 0 ||
        (error = check_identity(db, &version)) != 0 || (error = check_soundness(db)) != 0 ||
        (error = use_wal(db)) != 0 ||
        (error = execute(db, "cannot be set up",
                         "PRAGMA synchronous=FULL; PRAGMA journal_size_limit=16777216")) != 0 ||
        (version == 0 && (error = create_schema(db)) != 0) || (error = prepare(db)) != 0)
        database_close(db);
    return error;
}

int32_t database_open_reader(struct database *db, const struct fng_host *host, const char *file,
                             int64_t busy_timeout_ms)
{
    int32_t error;

    if ((error = open_handle(db, host, file, busy_timeout_ms)) != 0 ||
        (error = execute(db, "cannot be opened for reading", "PRAGMA query_only=1")) != 0 ||
        (error = prepare(db)) != 0)
        database_close(db);
    return error;
}

void database_close(struct database *db)
{
    for (int i = 0; i < STATEMENT_COUNT; i++)
        sqlite3_finalize(db->statements[i]);
    sqlite3_close(db->handle);
    memset(db, 0, sizeof(*db));
}

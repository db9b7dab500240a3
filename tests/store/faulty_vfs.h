/* A SQLite VFS that passes everything on to the real one, and can fail the n-th write or sync, or
 * remember what would be on the disk if the power failed at the n-th. One thread.
 */
#ifndef FAULTY_VFS_H
#define FAULTY_VFS_H

#include <stdbool.h>

/* Becomes the default VFS of the process. */
void faulty_vfs_install(void);

/* Fails the n-th write, truncate or sync from now on (1: the next) with an SQLite code; for ever
 * when it is persistent. */
void faulty_vfs_fail(unsigned nth, int code, bool is_persistent);
/* No more failures. True when one has happened. */
bool faulty_vfs_heal(void);

/* Remembers the disk at the n-th write, truncate or sync from now on: what was synced, and of what
 * was not a random part. */
void faulty_vfs_cut_power(unsigned nth, unsigned seed);
bool faulty_vfs_was_cut(void);
/* Writes what was remembered of the files below `dir` into `to_dir`. */
void faulty_vfs_restore(const char *dir, const char *to_dir);
/* Forgets all files. */
void faulty_vfs_forget(void);

#endif

/* A SQLite VFS that fails on demand and knows what would survive a power failure. */
#include "faulty_vfs.h"

#include "util.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A write that was not synced. */
struct pending {
    char *bytes; /* NULL: truncate to `offset` */
    size_t len, offset;
};

struct image {
    char *bytes;
    size_t len;
};

/* What the disk holds of a file. */
struct disk_file {
    char *path;
    struct image synced;
    struct image at_cut;
    struct {
        struct pending *items;
        size_t count;
    } pending;
};

struct faulty_file {
    sqlite3_file base;
    struct disk_file *disk; /* NULL: a file that need not survive */
    sqlite3_file *real;
};

static sqlite3_vfs *real_vfs;
static struct {
    struct disk_file **items;
    size_t count;
} disk;
static unsigned fail_in, cut_in;
static int fail_code;
static bool is_persistent_failure, has_failed, is_cut;

/* ---- The disk ---- */

static void image_write(struct image *image, const char *bytes, size_t len, size_t offset)
{
    if (len == 0)
        return;
    if (offset + len > image->len) {
        image->bytes = must_realloc(image->bytes, offset + len);
        memset(image->bytes + image->len, 0, offset + len - image->len);
        image->len = offset + len;
    }
    memcpy(image->bytes + offset, bytes, len);
}

static void image_apply(struct image *image, const struct pending *pending)
{
    if (pending->bytes)
        image_write(image, pending->bytes, pending->len, pending->offset);
    else if (pending->offset < image->len)
        image->len = pending->offset;
}

static void drop_pending(struct disk_file *file)
{
    for (size_t i = 0; i < file->pending.count; i++)
        free(file->pending.items[i].bytes);
    free(file->pending.items);
    file->pending.items = NULL;
    file->pending.count = 0;
}

static void sync_file(struct disk_file *file)
{
    for (size_t i = 0; i < file->pending.count; i++)
        image_apply(&file->synced, &file->pending.items[i]);
    drop_pending(file);
}

static void add_pending(struct disk_file *file, const void *bytes, size_t len, size_t offset)
{
    struct pending *pending = LIST_PUSH(&file->pending);

    *pending = (struct pending){NULL, len, offset};
    if (bytes)
        pending->bytes = memcpy(must_realloc(NULL, len), bytes, len);
}

static void cut_power(void)
{
    for (size_t i = 0; i < disk.count; i++) {
        struct disk_file *file = disk.items[i];

        image_write(&file->at_cut, file->synced.bytes, file->synced.len, 0);
        for (size_t k = 0; k < file->pending.count; k++)
            if (rand() % 2)
                image_apply(&file->at_cut, &file->pending.items[k]);
    }
    is_cut = true;
}

static struct disk_file *disk_find(const char *path)
{
    struct disk_file **place;

    for (size_t i = 0; i < disk.count; i++)
        if (strcmp(disk.items[i]->path, path) == 0)
            return disk.items[i];
    place = LIST_PUSH(&disk);
    *place = must_zalloc(sizeof(**place));
    (*place)->path = must_copy(fng_str_from(path));
    return *place;
}

static void disk_file_free(struct disk_file *file)
{
    drop_pending(file);
    free(file->synced.bytes);
    free(file->at_cut.bytes);
    free(file->path);
    free(file);
}

void faulty_vfs_forget(void)
{
    for (size_t i = 0; i < disk.count; i++)
        disk_file_free(disk.items[i]);
    free(disk.items);
    disk.items = NULL;
    disk.count = 0;
    is_cut = false;
    cut_in = 0;
}

void faulty_vfs_restore(const char *dir, const char *to_dir)
{
    for (size_t i = 0; i < disk.count; i++) {
        const struct disk_file *file = disk.items[i];
        size_t len = strlen(dir);
        char path[256];
        FILE *stream;

        if (strncmp(file->path, dir, len) != 0 || file->at_cut.len == 0)
            continue;
        snprintf(path, sizeof(path), "%s%s", to_dir, file->path + len);
        stream = fopen(path, "we");
        if (!stream || fwrite(file->at_cut.bytes, 1, file->at_cut.len, stream) != file->at_cut.len)
            abort();
        fclose(stream);
    }
}

/* ---- Faults ---- */

void faulty_vfs_fail(unsigned nth, int code, bool is_persistent)
{
    fail_in = nth;
    fail_code = code;
    is_persistent_failure = is_persistent;
    has_failed = false;
}

bool faulty_vfs_heal(void)
{
    fail_in = 0;
    return has_failed;
}

void faulty_vfs_cut_power(unsigned nth, unsigned seed)
{
    srand(seed);
    cut_in = nth;
}

bool faulty_vfs_was_cut(void)
{
    return is_cut;
}

/* Before each change of a file. SQLITE_OK, or the code that it fails with. */
static int step(void)
{
    if (cut_in && --cut_in == 0)
        cut_power();
    if (fail_in == 0 || --fail_in > 0)
        return SQLITE_OK;
    has_failed = true;
    fail_in = is_persistent_failure;
    return fail_code;
}

/* ---- File methods ---- */

static struct faulty_file *self_of(sqlite3_file *file)
{
    return (struct faulty_file *)(void *)file;
}

static int faulty_close(sqlite3_file *file)
{
    sqlite3_file *real = self_of(file)->real;

    return real->pMethods->xClose(real);
}

static int faulty_read(sqlite3_file *file, void *bytes, int len, sqlite3_int64 offset)
{
    sqlite3_file *real = self_of(file)->real;

    return real->pMethods->xRead(real, bytes, len, offset);
}

static int faulty_write(sqlite3_file *file, const void *bytes, int len, sqlite3_int64 offset)
{
    sqlite3_file *real = self_of(file)->real;
    int result = step();

    if (result == SQLITE_OK)
        result = real->pMethods->xWrite(real, bytes, len, offset);
    if (result == SQLITE_OK && self_of(file)->disk)
        add_pending(self_of(file)->disk, bytes, (size_t)len, (size_t)offset);
    return result;
}

static int faulty_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    sqlite3_file *real = self_of(file)->real;
    int result = step();

    if (result == SQLITE_OK)
        result = real->pMethods->xTruncate(real, size);
    if (result == SQLITE_OK && self_of(file)->disk)
        add_pending(self_of(file)->disk, NULL, 0, (size_t)size);
    return result;
}

static int faulty_sync(sqlite3_file *file, int flags)
{
    sqlite3_file *real = self_of(file)->real;
    int result = step();

    (void)flags; /* the real sync is of no use here */
    (void)real;
    if (result == SQLITE_OK && self_of(file)->disk)
        sync_file(self_of(file)->disk);
    return result;
}

static int faulty_size(sqlite3_file *file, sqlite3_int64 *size)
{
    sqlite3_file *real = self_of(file)->real;

    return real->pMethods->xFileSize(real, size);
}

static int faulty_lock(sqlite3_file *file, int level)
{
    sqlite3_file *real = self_of(file)->real;

    return real->pMethods->xLock(real, level);
}

static int faulty_unlock(sqlite3_file *file, int level)
{
    sqlite3_file *real = self_of(file)->real;

    return real->pMethods->xUnlock(real, level);
}

static int faulty_check_lock(sqlite3_file *file, int *result)
{
    sqlite3_file *real = self_of(file)->real;

    return real->pMethods->xCheckReservedLock(real, result);
}

static int faulty_control(sqlite3_file *file, int operation, void *arg)
{
    sqlite3_file *real = self_of(file)->real;

    return real->pMethods->xFileControl(real, operation, arg);
}

static int faulty_sector(sqlite3_file *file)
{
    sqlite3_file *real = self_of(file)->real;

    return real->pMethods->xSectorSize(real);
}

static int faulty_device(sqlite3_file *file)
{
    sqlite3_file *real = self_of(file)->real;

    /* Without what real disks do not promise. */
    return real->pMethods->xDeviceCharacteristics(real) & ~SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static int faulty_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **ret)
{
    sqlite3_file *real = self_of(file)->real;

    return real->pMethods->xShmMap(real, page, size, extend, ret);
}

static int faulty_shm_lock(sqlite3_file *file, int offset, int count, int flags)
{
    sqlite3_file *real = self_of(file)->real;

    return real->pMethods->xShmLock(real, offset, count, flags);
}

static void faulty_shm_barrier(sqlite3_file *file)
{
    sqlite3_file *real = self_of(file)->real;

    real->pMethods->xShmBarrier(real);
}

static int faulty_shm_unmap(sqlite3_file *file, int is_delete)
{
    sqlite3_file *real = self_of(file)->real;

    return real->pMethods->xShmUnmap(real, is_delete);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = faulty_close,
    .xRead = faulty_read,
    .xWrite = faulty_write,
    .xTruncate = faulty_truncate,
    .xSync = faulty_sync,
    .xFileSize = faulty_size,
    .xLock = faulty_lock,
    .xUnlock = faulty_unlock,
    .xCheckReservedLock = faulty_check_lock,
    .xFileControl = faulty_control,
    .xSectorSize = faulty_sector,
    .xDeviceCharacteristics = faulty_device,
    .xShmMap = faulty_shm_map,
    .xShmLock = faulty_shm_lock,
    .xShmBarrier = faulty_shm_barrier,
    .xShmUnmap = faulty_shm_unmap,
};

/* ---- The VFS ---- */

static int faulty_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                       int *ret_flags)
{
    struct faulty_file *self = self_of(file);
    int result;

    (void)vfs;
    self->real = (sqlite3_file *)(void *)(self + 1);
    self->base.pMethods = NULL;
    self->disk = NULL;
    if (name && flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL))
        self->disk = disk_find(name);
    result = real_vfs->xOpen(real_vfs, name, self->real, flags, ret_flags);
    if (result == SQLITE_OK)
        self->base.pMethods = &methods;
    return result;
}

static int faulty_delete(sqlite3_vfs *vfs, const char *name, int sync_dir)
{
    struct disk_file *file = disk_find(name);

    (void)vfs;
    drop_pending(file);
    file->synced.len = 0;
    return real_vfs->xDelete(real_vfs, name, sync_dir);
}

void faulty_vfs_install(void)
{
    static sqlite3_vfs vfs;

    sqlite3_initialize();
    real_vfs = sqlite3_vfs_find(NULL);
    vfs = *real_vfs;
    vfs.zName = "faulty";
    vfs.szOsFile = (int)sizeof(struct faulty_file) + real_vfs->szOsFile;
    vfs.xOpen = faulty_open;
    vfs.xDelete = faulty_delete;
    sqlite3_vfs_register(&vfs, 1);
}

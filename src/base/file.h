/* file.h - files: mapped reading, and writing that appears under its final name only when whole.
 *
 * Every writer in the project goes through file_out: bytes go to "NAME.partial-PID-HOST" in the same folder,
 * file_out_commit flushes, syncs and renames. A process that dies leaves the final name untouched.
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"

/* What tells a regular file from others, and from itself before a change: no program sets an inode's time
 * `changed`.
 */
typedef struct {
  uint64_t device, inode, size;
  int64_t modified, changed; /* ns */
} file_id;
bool file_identify(file_id *id, const char *path); /* false: there is none */

/* A read-only mapping of a whole file. */
typedef struct {
  const uint8_t *p;
  size_t len;
  char *path; /* owned, for messages */
  file_id id; /* when it was opened */
} file_map;
rw_status file_map_open(file_map *m, const char *path, rw_error *err);
void file_map_close(file_map *m);

/* Opens a regular file for reading; of anything else RW_IO at once, by its name: no pipe is waited for. size NULL:
 * a pipe that the command line handed over (/dev/fd/N, /dev/stdin) will do as well. */
rw_status file_open_input(int *fd, uint64_t *size, const char *path, rw_error *err);
/* Does dir/name, without its links, lie in dir, or in the blobs of the same model of a hub's cache? RW_DATA when
 * not: asked of all that is copied out of a folder of somebody else. */
rw_status file_check_inside(const char *dir, const char *name, rw_error *err);

/* Does path lie in dir, both without their links? */
bool file_is_inside(const char *path, const char *dir);

/* The whole of a (small) file; s is appended to. Refuses files over max bytes. */
rw_status file_read(const char *path, size_t max, str *s, rw_error *err);
/* The same of a text: what is not UTF-8 or holds a zero byte is RW_DATA with its line. */
rw_status file_read_text(const char *path, size_t max, str *s, rw_error *err);

/* Atomic output. path "-" is stdout; it, a device and a pipe are written as they are (nothing to rename). */
typedef struct file_out file_out;
struct sha256;
rw_status file_out_open(file_out **out, const char *path, rw_error *err);
rw_status file_out_write(file_out *out, const void *p, size_t len, rw_error *err);
rw_status file_out_flush(file_out *out, rw_error *err); /* what was written leaves the process's own buffer */
void file_out_sum(file_out *out, struct sha256 *sum); /* from now on adds what is written to *sum, which has all of
                                                         it once the output is committed */
/* Flush, fsync, rename to the final name. Frees out in either case; on failure the partial is removed. */
rw_status file_out_commit(file_out *out, rw_error *err);
/* PATH.partial-PID-HOST, which the caller frees: in a folder, what a dead process of this host has left under such
 * a name, or one with a further .EXT, is removed by the next file_out_dir. NULL: no memory. */
char *file_partial_name(const char *path);
/* An output that several processes write: one opens and commits it; the others join it by the name of its partial,
 * and leave it, synced, before that. Bytes at `at`, in place of file_out_write; RW_IO where the folder is not
 * shared. */
const char *file_out_partial(const file_out *out);
rw_status file_out_join(file_out **out, const char *path, const char *partial, rw_error *err);
rw_status file_out_at(file_out *out, uint64_t at, const void *p, size_t len, rw_error *err);
rw_status file_out_leave(file_out *out, rw_error *err);
void file_out_abort(file_out *out); /* removes the partial; NULL is fine */
/* Write the bytes as path, atomically. */
rw_status file_put(const char *path, const void *p, size_t len, rw_error *err);
/* The same of what comes from the file `like`: readable by nobody who may not read that. */
rw_status file_put_like(const char *path, const void *p, size_t len, const char *like, rw_error *err);
/* A new file, which follows no link; -1 and errno: none. */
int file_create_new(const char *path);
/* A file to append to and to read again, made for this user alone. RW_IO when what is there is a link, no regular
 * file, another user's, or has other names: it may be somebody else's file that was put in the way. */
rw_status file_open_append(int *fd, const char *path, rw_error *err);

/* Is the output one of the files that are read? RW_USAGE: writing it would replace that. Not of devices. */
rw_status file_check_output(const char *out, const char *const *in, size_t n, rw_error *err);
bool file_same(const char *a, const char *b); /* both there, and one file or folder */
bool file_exists(const char *path);
bool file_has_end(const char *path, const char *end); /* such as ".gz" */
bool file_is_dir(const char *path);
/* -o DIR: makes it (with parents), or takes an empty one; a non-empty one is RW_USAGE unless force. */
rw_status file_out_dir(const char *path, bool force, rw_error *err);
/* Would it take the folder? Makes nothing. */
rw_status file_check_dir(const char *path, bool force, rw_error *err);
/* The same for a command that writes several files and ends: a folder that such a command has left before its end
 * is taken again. Until end(done) it holds a file .unfinished and is this process's own (file_lock_dir). A folder
 * that begin made and that is empty at an end without done goes again. After a begin that failed, end is fine. */
typedef struct {
  char *mark;
  int lock;
  size_t had; /* so much of the path was there before */
} out_dir;
rw_status file_dir_begin(out_dir *d, const char *path, bool force, rw_error *err);
void file_dir_end(out_dir *d, bool done);
/* Takes the folder for this process until *fd is closed: RW_USAGE when another process has it. */
rw_status file_lock_dir(const char *path, int *fd, rw_error *err);
rw_status file_mkdirs(const char *path, rw_error *err);
/* A file of no name in the folder, for reading and writing; gone when *fd is closed. */
rw_status file_nameless(const char *dir, int *fd, rw_error *err);
/* This program's folder in the user's cache, which need not be there. The caller frees it; NULL: the environment
 * names none, or no memory. */
char *file_cache_dir(void);
/* The folder, or where there is none yet the nearest above it that there is. The caller frees it; NULL: no memory.
 */
char *file_nearest_dir(const char *path);
/* Bytes that can still be written there; 0 when that is not known. */
uint64_t file_room(const char *dir);
/* The most that a file there may have: RLIMIT_FSIZE, or UINT64_MAX. */
uint64_t file_size_limit(void);
/* Are there fewer than `need` bytes? False where the file system does not say. */
bool file_room_short(const char *dir, uint64_t need);
void file_size_text(char out[32], uint64_t bytes); /* "2.9 GB", "350 MB", "12 KB" */
uint64_t file_tree_bytes(const char *path);        /* all files in it, as far as they can be seen */
/* Removes a file, or a link and not what it leads to. RW_OK where there is none; a folder is RW_IO. */
rw_status file_remove(const char *path, rw_error *err);
/* Removes a folder with all in it, too; follows no link. */
rw_status file_remove_tree(const char *path, rw_error *err);
/* The same of a folder that may be in use by its name: it is renamed PATH.removed first, so that whenever the
 * process is killed the name stands for the whole folder or for none. Also what an earlier call left of
 * PATH.removed. */
rw_status file_remove_dir(const char *path, rw_error *err);
/* Puts folder `from` in the place of folder `to`, at one moment where the file system can, and removes what stood
 * there. */
rw_status file_replace_dir(const char *from, const char *to, rw_error *err);
/* "dir/name" into a string that the caller frees with mem_free; NULL: no memory. */
char *file_join(const char *dir, const char *name);
/* The XXH3-128 of a file's bytes as 32 hex digits into out[33]. */
rw_status file_hash(const char *path, char out[33], rw_error *err);

#endif

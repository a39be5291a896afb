/* Makes every n-th write of a process to files below a folder fail with EIO, while a mark exists.
 *
 * For LD_PRELOAD. Environment: FAILING_WRITES_MARK, FAILING_WRITES_UNDER, FAILING_WRITES_EACH.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int fails(int file) {
    static long count;
    const char *mark = getenv("FAILING_WRITES_MARK"), *under = getenv("FAILING_WRITES_UNDER");
    const char *each = getenv("FAILING_WRITES_EACH");
    char link[64], path[4096];
    int before = errno;
    if (!mark || !under || !each || access(mark, F_OK)) {
        errno = before;
        return 0;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length < 0) return 0;
    path[length] = 0;
    if (strncmp(path, under, strlen(under))) return 0;
    if (__sync_add_and_fetch(&count, 1) % atol(each)) return 0;
    errno = EIO;
    return 1;
}

ssize_t write(int file, const void *data, size_t size) {
    static ssize_t (*next)(int, const void *, size_t);
    if (!next) next = dlsym(RTLD_NEXT, "write");
    return fails(file) ? -1 : next(file, data, size);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset) {
    static ssize_t (*next)(int, const void *, size_t, off64_t);
    if (!next) next = dlsym(RTLD_NEXT, "pwrite64");
    return fails(file) ? -1 : next(file, data, size, offset);
}

/*
 * Stands between the module and what it asks for memory, and refuses when told to. The module under test names these
 * functions with a capital letter instead of nginx's and the C library's own (see below.rs), and nothing else in the
 * process does.
 *
 * Some functions it stands before for the whole process: write, so that a TLS connection cannot say goodbye when told so,
 * as if the client read nothing and its window were full; SSL_read, so that a TLS connection has to write before it can
 * read on when told so, as in a renegotiation when the server reads nothing; and free, so that nobody gets away with looking
 * at what was freed (left out, without POISON, where a sanitizer does that).
 *
 * A test writes into the shared file named by NTLM_FAULTS and reads it:
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define KINDS 10

struct control {
    int64_t  countdown;      /* the call that is refused; 0 while none is, and after it was */
    int64_t  forever;        /* all calls from that one on are refused */
    int64_t  refused;
    int64_t  full;           /* there is no room to say goodbye, and freed memory is used by nobody again */
    int64_t  goodbyes;       /* how many found none */
    int64_t  write_first;    /* who waits for something to read waits for room to write, until the module watches */
    int64_t  calls[KINDS];
};

static struct control  *control;

extern void *ngx_palloc(void *, size_t) __attribute__((weak));
extern void *ngx_pnalloc(void *, size_t) __attribute__((weak));
extern void *ngx_pcalloc(void *, size_t) __attribute__((weak));
extern void *ngx_pool_cleanup_add(void *, size_t) __attribute__((weak));
extern intptr_t ngx_http_complex_value(void *, void *, void *) __attribute__((weak));
extern intptr_t ngx_handle_read_event(void *, uintptr_t) __attribute__((weak));

__attribute__((constructor)) static void
open_control(void)
{
    int          fd;
    const char  *path;
    void        *shared;

    path = getenv("NTLM_FAULTS");
    fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd == -1) {
        return;
    }
    shared = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    control = shared == MAP_FAILED ? NULL : shared;
}

static int
refuses(int kind)
{
    if (control == NULL) {
        return 0;
    }
    control->calls[kind]++;
    if (control->countdown == 0 || (control->countdown != 1 && control->countdown--)) {
        return 0;
    }
    if (!control->forever) {
        control->countdown = 0;
    }
    control->refused++;
    return 1;
}

void *
Malloc(size_t size)
{
    return refuses(0) ? NULL : malloc(size);
}

void *
Calloc(size_t count, size_t size)
{
    return refuses(1) ? NULL : calloc(count, size);
}

void *
Realloc(void *old, size_t size)
{
    return refuses(2) ? NULL : realloc(old, size);
}

int
Posix_memalign(void **place, size_t alignment, size_t size)
{
    return refuses(3) ? 12 /* ENOMEM */ : posix_memalign(place, alignment, size);
}

void *
Ngx_palloc(void *pool, size_t size)
{
    return refuses(4) ? NULL : ngx_palloc(pool, size);
}

void *
Ngx_pnalloc(void *pool, size_t size)
{
    return refuses(5) ? NULL : ngx_pnalloc(pool, size);
}

void *
Ngx_pcalloc(void *pool, size_t size)
{
    return refuses(6) ? NULL : ngx_pcalloc(pool, size);
}

/* GNU ld keeps "calloc" as the end of "ngx_pcalloc", which is changed twice then. */

void *
Ngx_pCalloc(void *pool, size_t size)
{
    return Ngx_pcalloc(pool, size);
}

void *
Ngx_pool_cleanup_add(void *pool, size_t size)
{
    return refuses(7) ? NULL : ngx_pool_cleanup_add(pool, size);
}

intptr_t
Ngx_http_complex_value(void *r, void *value, void *result)
{
    return refuses(8) ? -1 /* NGX_ERROR */ : ngx_http_complex_value(r, value, result);
}

intptr_t
Ngx_handle_read_event(void *event, uintptr_t flags)
{
    if (control) {
        control->write_first = 0;
    }
    return refuses(9) ? -1 /* NGX_ERROR */ : ngx_handle_read_event(event, flags);
}

/* An alert: with its type to be seen in TLS 1.2, and of TLS 1.3 the one record of two bytes, their type and a tag. */

static int
is_alert(const unsigned char *record, size_t size)
{
    return size > 5 && (record[0] == 0x15
                        || (record[0] == 0x17 && size == 5 + 19 && record[3] == 0 && record[4] == 19));
}

ssize_t
write(int fd, const void *bytes, size_t size)
{
    static ssize_t  (*next)(int, const void *, size_t);

    if (control && control->full && is_alert(bytes, size)) {
        control->goodbyes++;
        errno = EAGAIN;
        return -1;
    }
    if (next == NULL) {
        *(void **) &next = dlsym(RTLD_NEXT, "write");
    }
    return next(fd, bytes, size);
}

#define SSL_ERROR_WANT_READ   2
#define SSL_ERROR_WANT_WRITE  3

static const void  *held_up;

int
SSL_get_error(const void *ssl, int result)
{
    static int  (*next)(const void *, int);

    if (next == NULL) {
        *(void **) &next = dlsym(RTLD_NEXT, "SSL_get_error");
    }
    if (ssl == held_up) {
        held_up = NULL;
        return SSL_ERROR_WANT_WRITE;
    }
    return next(ssl, result);
}

int
SSL_read(void *ssl, void *bytes, int size)
{
    static int  (*next)(void *, void *, int);
    int         result;

    if (next == NULL) {
        *(void **) &next = dlsym(RTLD_NEXT, "SSL_read");
    }
    result = next(ssl, bytes, size);
    if (control && control->write_first && result <= 0 && SSL_get_error(ssl, result) == SSL_ERROR_WANT_READ) {
        held_up = ssl;
    }
    return result;
}

#ifdef POISON

extern void __libc_free(void *);

#define NGX_HTTP_MODULE  0x50545448

/*
 * What lies there afterwards is no pointer, and yet a number like another. Of a request the beginning stays, its signature and
 * its connection, and the rest is nothing: whoever takes it for a live one of HTTP/1.x finds no main request there.
 */

void
free(void *place)
{
    size_t     i;
    uint64_t   poison = 41;
    uint64_t  *words = place;

    for (i = 0; place && i < malloc_usable_size(place) / sizeof(uint64_t); i++) {
        if ((uint32_t) words[i] == NGX_HTTP_MODULE) {
            i++;
            poison = 0;
            continue;
        }
        words[i] = poison;
    }
    if (control == NULL || !control->full) {
        __libc_free(place);
    }
}

#endif

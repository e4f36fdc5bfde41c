/*
 * The TLS 1.3 in front of an origin: what is in it goes on to a port in the clear, and back, one connection for one. Each
 * line on standard input has a session ticket sent over all connections there are, and is answered by a line that says
 * over how many. It ends with its standard input.
 *
 *     tickets CERTIFICATE KEY PORT
 *
 * Its first line is the port that it listens at. rustls, which the other origins speak, sends tickets with its handshake
 * only.
 */

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/ssl.h>

#define PAIRS 32

struct pair {
    int   clear;    /* towards the origin; -1 while there is no pair here */
    int   tls;      /* towards the client */
    SSL  *ssl;
};

static struct pair  pairs[PAIRS];

static void
must(int holds, const char *what)
{
    if (!holds) {
        perror(what);
        exit(1);
    }
}

static struct sockaddr_in
loopback(int port)
{
    struct sockaddr_in  address = { 0 };

    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void
end(struct pair *pair)
{
    SSL_shutdown(pair->ssl);
    SSL_free(pair->ssl);
    close(pair->tls);
    close(pair->clear);
    pair->clear = -1;
}

static void
begin(SSL_CTX *ctx, int listening, int port)
{
    int                 one = 1;
    struct pair        *pair;
    struct sockaddr_in  origin = loopback(port);

    for (pair = pairs; pair->clear != -1; pair++) {
        must(pair + 1 < pairs + PAIRS, "more connections than there is room for");
    }
    pair->tls = accept(listening, NULL, NULL);
    must(pair->tls != -1, "accept");
    setsockopt(pair->tls, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    pair->clear = socket(AF_INET, SOCK_STREAM, 0);
    must(connect(pair->clear, (struct sockaddr *) &origin, sizeof(origin)) == 0, "connect");
    setsockopt(pair->clear, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    pair->ssl = SSL_new(ctx);
    SSL_set_fd(pair->ssl, pair->tls);
    if (SSL_accept(pair->ssl) != 1) {
        end(pair);
        return;
    }
    fcntl(pair->tls, F_SETFL, O_NONBLOCK);
}

/* From the client to the origin. */
static void
inwards(struct pair *pair)
{
    int   n;
    char  bytes[16384];

    while ((n = SSL_read(pair->ssl, bytes, sizeof(bytes))) > 0) {
        if (write(pair->clear, bytes, n) != n) {
            end(pair);
            return;
        }
    }
    if (SSL_get_error(pair->ssl, n) != SSL_ERROR_WANT_READ) {
        end(pair);
    }
}

/* From the origin to the client. */
static void
outwards(struct pair *pair)
{
    int            n, sent;
    char           bytes[16384];
    struct pollfd  room = { pair->tls, POLLOUT, 0 };

    n = read(pair->clear, bytes, sizeof(bytes));
    if (n <= 0) {
        end(pair);
        return;
    }
    while ((sent = SSL_write(pair->ssl, bytes, n)) <= 0) {
        if (SSL_get_error(pair->ssl, sent) != SSL_ERROR_WANT_WRITE) {
            end(pair);
            return;
        }
        poll(&room, 1, -1);
    }
}

static void
send_tickets(void)
{
    int           count = 0;
    struct pair  *pair;

    for (pair = pairs; pair < pairs + PAIRS; pair++) {
        if (pair->clear != -1 && SSL_new_session_ticket(pair->ssl) == 1 && SSL_do_handshake(pair->ssl) == 1) {
            count++;
        }
    }
    printf("%d\n", count);
}

int
main(int argc, char **argv)
{
    int                 i, n, listening, port;
    char                orders[64];
    SSL_CTX            *ctx;
    socklen_t           length = sizeof(struct sockaddr_in);
    struct pollfd       watched[2 + 2 * PAIRS];
    struct sockaddr_in  here = loopback(0);

    must(argc == 4, "usage: tickets CERTIFICATE KEY PORT");
    port = atoi(argv[3]);
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (i = 0; i < PAIRS; i++) {
        pairs[i].clear = -1;
    }

    ctx = SSL_CTX_new(TLS_server_method());
    must(SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION), "TLS 1.3");
    must(SSL_CTX_use_certificate_chain_file(ctx, argv[1]) == 1, argv[1]);
    must(SSL_CTX_use_PrivateKey_file(ctx, argv[2], SSL_FILETYPE_PEM) == 1, argv[2]);

    listening = socket(AF_INET, SOCK_STREAM, 0);
    must(bind(listening, (struct sockaddr *) &here, sizeof(here)) == 0 && listen(listening, PAIRS) == 0, "listen");
    getsockname(listening, (struct sockaddr *) &here, &length);
    printf("%d\n", ntohs(here.sin_port));

    for ( ;; ) {
        watched[0] = (struct pollfd) { STDIN_FILENO, POLLIN, 0 };
        watched[1] = (struct pollfd) { listening, POLLIN, 0 };
        for (i = 0; i < PAIRS; i++) {
            n = pairs[i].clear == -1;
            watched[2 + 2 * i] = (struct pollfd) { n ? -1 : pairs[i].tls, POLLIN, 0 };
            watched[3 + 2 * i] = (struct pollfd) { n ? -1 : pairs[i].clear, POLLIN, 0 };
        }
        poll(watched, 2 + 2 * PAIRS, -1);
        for (i = 0; i < PAIRS; i++) {
            if (watched[2 + 2 * i].revents) {
                inwards(&pairs[i]);
            }
            if (watched[3 + 2 * i].revents && pairs[i].clear != -1) {
                outwards(&pairs[i]);
            }
        }
        if (watched[0].revents) {
            n = read(STDIN_FILENO, orders, sizeof(orders));
            if (n <= 0) {
                return 0;
            }
            for (i = 0; i < n; i++) {
                if (orders[i] == '\n') {
                    send_tickets();
                }
            }
        }
        if (watched[1].revents) {
            begin(ctx, listening, port);
        }
    }
}

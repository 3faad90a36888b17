/* client.h - connections and what their clients still owe: the rest of the headers, of the body, or the taking of
 * an answer. A thread looks at all of them each second, and ends those that are late.
 *
 * Headers are due `seconds` after their first byte. A body, and an answer's taking, may fall as far behind
 * CLIENT_RATE bytes a second: a large body over a slow line has all the time it needs, one that drips has not.
 * Between requests a connection may be idle for CLIENT_IDLE_SECONDS. What has come and was not read yet is never
 * held against a client. On a Unix socket headers that drip are only found by the last of these: the kernel counts
 * no bytes there.
 */
#ifndef SERVE_CLIENT_H
#define SERVE_CLIENT_H

#include <stdatomic.h>

#include "base/status.h"

enum { CLIENT_RATE = 16 << 10, CLIENT_IDLE_SECONDS = 3600 };

typedef struct clients clients;
typedef struct client client;

/* seconds 0: nobody is ever late. *ended counts those that were. */
rw_status clients_open(clients **out, double seconds, atomic_uint_fast64_t *ended, rw_error *err);
void clients_close(clients *all); /* after the last of them has gone; NULL is fine */

/* A connection, idle until client_reads. NULL: no memory, it is not watched; the others take that. */
client *client_new(clients *all, int fd);
void client_gone(clients *all, client *c); /* before its fd is closed */

/* Any thread, one at a time for a client. */
void client_idle(client *c);                  /* its request has ended */
void client_reads(client *c);                 /* the headers are whole */
void client_sent(client *c, size_t n);        /* so many bytes more of the body came */
void client_waits(client *c);                 /* the body is whole; the server's turn */
void client_takes(client *c, size_t n_bytes); /* an answer is on its way */

#endif

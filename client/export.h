/* SPDX-License-Identifier: ISC */
/*
 * export.h - pglend-export: the pools' statistics for Prometheus.
 */
#ifndef PGLEND_EXPORT_H
#define PGLEND_EXPORT_H

#include <jansson.h>

/*
 * export_text.c: STATUS as the supervisor said it, and what cli_pools_and_stats() gave (NULL: it did not answer), as
 * Prometheus reads it, text format 0.0.4. To be freed; NULL: out of memory.
 */
#define EXPORT_TYPE "text/plain; version=0.0.4; charset=utf-8"
char *export_text(const json_t *status, const json_t *pools);

/* export_http.c: answer on LISTEN, "127.0.0.1:9632" or "[::1]:9632", with what TEXT gives (freed), until a signal. */
struct export_server;
struct export_server *export_listen(const char *where, char *(*text)(void *context), void *context);
void export_close(struct export_server *server);

#endif

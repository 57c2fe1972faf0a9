/* SPDX-License-Identifier: ISC */
/*
 * clinic.h - the pages of the clinic: from a request to its reply, borrowing a connection on the way.
 */
#ifndef DEMO_CLINIC_H
#define DEMO_CLINIC_H

#include "http.h"

#include <pglend.h>

/* Answer REQUEST on H as worker INDEX of the board. True: the connection may be kept. */
bool clinic_answer(struct http *h, const struct http_request *request, pglend *pool, size_t index);

#endif

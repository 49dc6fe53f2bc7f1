/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Errors of a thread, answers to Get...Info, and the clock. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "linesim.h"

static _Thread_local char last_text[256] = "no error";
static _Thread_local gc_error last_code = GC_OK;

gc_error fail(gc_error code, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(last_text, sizeof last_text, format, arguments);
    va_end(arguments);
    last_code = code;
    return code;
}

GENTL_EXPORT GCGetLastError(gc_error *code, char *text, size_t *size)
{
    if (code != NULL)
        *code = last_code;
    struct answer to = {NULL, text, size};
    return answer_bytes(to, TYPE_STRING, last_text, strlen(last_text) + 1);
}

/* A NULL buffer asks for the size; a short one gets the size and an error. */
gc_error answer_bytes(struct answer to, info_type type, const void *data, size_t length)
{
    if (to.size == NULL)
        return fail(GC_ERR_INVALID_PARAMETER, "the size pointer is NULL");
    if (to.type != NULL)
        *to.type = type;
    if (to.buffer == NULL) {
        *to.size = length;
        return GC_OK;
    }
    if (*to.size < length) {
        *to.size = length;
        return fail(GC_ERR_BUFFER_TOO_SMALL, "%zu bytes are needed", length);
    }
    memcpy(to.buffer, data, length);
    *to.size = length;
    return GC_OK;
}

gc_error answer_text(struct answer to, const char *text)
{
    return answer_bytes(to, TYPE_STRING, text, strlen(text) + 1);
}

gc_error answer_size(struct answer to, size_t value)
{
    return answer_bytes(to, TYPE_SIZET, &value, sizeof value);
}

gc_error answer_u64(struct answer to, uint64_t value)
{
    return answer_bytes(to, TYPE_UINT64, &value, sizeof value);
}

gc_error answer_u32(struct answer to, uint32_t value)
{
    return answer_bytes(to, TYPE_UINT32, &value, sizeof value);
}

gc_error answer_i32(struct answer to, int32_t value)
{
    return answer_bytes(to, TYPE_INT32, &value, sizeof value);
}

gc_error answer_bool(struct answer to, bool value)
{
    bool8 byte = value ? 1 : 0;

    return answer_bytes(to, TYPE_BOOL8, &byte, sizeof byte);
}

gc_error answer_pointer(struct answer to, void *value)
{
    return answer_bytes(to, TYPE_PTR, &value, sizeof value);
}

/* The one clock of the producer: a consumer on this machine maps timestamps one to one. */
uint64_t now_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
}

struct timespec to_timespec(uint64_t ns)
{
    struct timespec time = {
        .tv_sec = (time_t)(ns / NS_PER_S),
        .tv_nsec = (long)(ns % NS_PER_S),
    };

    return time;
}

/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Layout of a feed file, little endian. cameras/simulator/feed.py writes the same offsets; a test compares them. */
#ifndef LINESIM_FEED_LAYOUT_H
#define LINESIM_FEED_LAYOUT_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define FEED_MAGIC "LSIMFEED"
#define FEED_VERSION 1u
#define FEED_HEADER_BYTES 4096u
#define FEED_SLOT_HEADER_BYTES 64u
#define FEED_FLAG_DROP 1u
#define FEED_FLAG_INCOMPLETE 2u

struct feed_header {
    char magic[8];
    uint32_t version;
    uint32_t header_bytes;
    uint32_t width;
    uint32_t height;
    /* 1 = 8 bit grey, 2 = 16 bit grey, 3 = 8 bit RGB: also the bytes of a pixel. */
    uint32_t samples;
    uint32_t slots;
    uint64_t slot_bytes;
    _Atomic uint32_t writer_wakes;
    uint32_t reserved_a[5];
    /* Written by the feed. */
    _Atomic uint32_t write_seq;
    uint32_t reserved_b;
    _Atomic uint64_t refused;
    _Atomic int64_t encoder;
    _Atomic uint32_t lost;
    _Atomic uint32_t back_count;
    _Atomic uint32_t slow_ms;
    _Atomic uint32_t frozen;
    _Atomic uint64_t drop_requested;
    _Atomic uint64_t incomplete_requested;
    uint64_t reserved_c;
    /* Written by the camera. */
    _Atomic uint32_t read_seq;
    _Atomic uint32_t acquiring;
    _Atomic uint32_t camera_pid;
    uint32_t reserved_d;
    _Atomic uint64_t drop_done;
    _Atomic uint64_t incomplete_done;
    _Atomic uint64_t edges_accepted;
    _Atomic uint64_t edges_missed;
    _Atomic uint64_t edges_lost;
};

static_assert(offsetof(struct feed_header, write_seq) == 64, "feed layout");
static_assert(offsetof(struct feed_header, lost) == 88, "feed layout");
static_assert(offsetof(struct feed_header, read_seq) == 128, "feed layout");
static_assert(offsetof(struct feed_header, edges_lost) == 176, "feed layout");

struct feed_slot {
    int64_t encoder;
    uint64_t edge_ns;
    uint32_t flags;
    uint32_t sequence;
    uint64_t reserved[5];
};

static_assert(sizeof(struct feed_slot) == FEED_SLOT_HEADER_BYTES, "feed layout");

#endif

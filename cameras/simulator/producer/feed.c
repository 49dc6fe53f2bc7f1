/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The shared-memory feed <LINESIM_DIR>/<serial>.feed: pictures, trigger edges, the encoder and faults from another
 * process. Its meaning is written at the top of cameras/simulator/feed.py; both must agree on this layout.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "feed_layout.h"
#include "linesim.h"

#define CHECK_EVERY_NS (20 * NS_PER_MS)

bool feed_attached(const struct camera *camera)
{
    return camera->feed.header != NULL;
}

static void detach(struct feed *feed)
{
    if (feed->header != NULL)
        munmap(feed->header, FEED_HEADER_BYTES);
    feed->header = NULL;
    if (feed->fd >= 0)
        close(feed->fd);
    feed->fd = -1;
}

void feed_close(struct camera *camera)
{
    if (camera->feed.header != NULL && camera->open)
        atomic_store(&camera->feed.header->acquiring, 0);
    detach(&camera->feed);
    camera->feed.checked_ns = 0;
    camera->feed.inode = 0;
}

void feed_publish_state(struct camera *camera)
{
    struct feed_header *header = camera->feed.header;

    /* Who only lists cameras attaches too, and must not speak for the process that has this one open. */
    if (header == NULL || !camera->open)
        return;
    atomic_store(&header->camera_pid, (uint32_t)getpid());
    atomic_store(&header->acquiring, camera->acquiring && !camera->dead ? 1 : 0);
}

static uint64_t samples_bytes(uint32_t samples)
{
    return samples;
}

/* Every number is checked against the others and against the size of the file before anything is mapped. */
static bool layout_ok(const struct feed_header *header, uint64_t file_bytes)
{
    if (memcmp(header->magic, FEED_MAGIC, sizeof header->magic) != 0 || header->version != FEED_VERSION)
        return false;
    if (header->header_bytes != FEED_HEADER_BYTES || header->samples < 1 || header->samples > 3)
        return false;
    if (header->width < 1 || header->width > 32768 || header->height < 1 || header->height > 32768)
        return false;
    if (header->slots < 2 || header->slots > 4096 || (header->slots & (header->slots - 1)) != 0)
        return false;
    uint64_t picture = (uint64_t)header->width * header->height * samples_bytes(header->samples);
    if (header->slot_bytes < FEED_SLOT_HEADER_BYTES + picture || header->slot_bytes > (1ull << 34))
        return false;
    return file_bytes >= FEED_HEADER_BYTES + header->slot_bytes * header->slots;
}

static bool attach(struct camera *camera, int fd, const struct stat *status)
{
    struct feed *feed = &camera->feed;
    struct feed_header copy;

    /* pread of a short file is a short read; mapping and touching it would be SIGBUS. */
    if (pread(fd, &copy, sizeof copy, 0) != (ssize_t)sizeof copy)
        return false;
    if (!layout_ok(&copy, (uint64_t)status->st_size))
        return false;
    void *memory = mmap(NULL, FEED_HEADER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return false;
    feed->header = memory;
    feed->fd = fd;
    feed->width = copy.width;
    feed->height = copy.height;
    feed->samples = copy.samples;
    feed->slots = copy.slots;
    feed->slot_bytes = copy.slot_bytes;
    feed->refused_seen = atomic_load(&feed->header->refused);
    feed->scene_taken = false;
    feed_publish_state(camera);
    return true;
}

/* Follow the file by name: it may be missing, appear, be replaced or be rubbish. Costs one stat every 20 ms. */
void feed_refresh(struct camera *camera)
{
    struct feed *feed = &camera->feed;
    uint64_t now = now_ns();
    struct stat status;

    if (camera->feed_path[0] == '\0' || (feed->checked_ns != 0 && now - feed->checked_ns < CHECK_EVERY_NS))
        return;
    feed->checked_ns = now;
    if (stat(camera->feed_path, &status) != 0 || !S_ISREG(status.st_mode)) {
        detach(feed);
        feed->inode = 0;
        return;
    }
    bool same = feed->device == (uint64_t)status.st_dev && feed->inode == (uint64_t)status.st_ino;
    if (same && (feed->header == NULL || status.st_size >= (off_t)FEED_HEADER_BYTES))
        return;
    detach(feed);
    int fd = open(camera->feed_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &status) != 0) {
        if (fd >= 0)
            close(fd);
        return;
    }
    feed->device = (uint64_t)status.st_dev;
    feed->inode = (uint64_t)status.st_ino;
    if (!attach(camera, fd, &status)) {
        fprintf(stderr, "linesim: %s is no feed of version %u, or is cut short: ignored\n", camera->feed_path,
                FEED_VERSION);
        close(fd);
    }
}

uint32_t feed_position(const struct feed *feed)
{
    return atomic_load(&feed->header->write_seq);
}

bool feed_empty(const struct feed *feed)
{
    return atomic_load(&feed->header->write_seq) == atomic_load(&feed->header->read_seq);
}

void feed_skip_all(struct camera *camera)
{
    struct feed_header *header = camera->feed.header;

    if (header == NULL)
        return;
    uint32_t position = atomic_load(&header->write_seq);
    uint32_t skipped = position - atomic_load(&header->read_seq);
    atomic_fetch_add(&header->edges_lost, skipped);
    atomic_store(&header->read_seq, position);
    camera->feed.refused_seen = atomic_load(&header->refused);
}

/* Edges that found the ring full since the last call: the camera saw them and could not take them. */
uint64_t feed_refused(struct camera *camera)
{
    uint64_t total = atomic_load(&camera->feed.header->refused);
    uint64_t news = total - camera->feed.refused_seen;

    camera->feed.refused_seen = total;
    return news;
}

/* Sleep until the writer moves on from `seen`, at most 20 ms, so that a stop or a fault is noticed. */
void feed_wait(const struct feed *feed, uint32_t seen)
{
    struct timespec timeout = to_timespec(20 * NS_PER_MS);
    struct timespec nap = to_timespec(NS_PER_MS);

    if (atomic_load(&feed->header->writer_wakes) != 0)
        (void)syscall(SYS_futex, &feed->header->write_seq, FUTEX_WAIT, seen, &timeout, NULL, 0);
    else
        (void)nanosleep(&nap, NULL);
}

static off_t slot_offset(const struct feed *feed, uint32_t sequence)
{
    return (off_t)(FEED_HEADER_BYTES + feed->slot_bytes * (sequence & (feed->slots - 1)));
}

/* The oldest edge in the ring, left there until feed_release. False when there is none. */
bool feed_peek(const struct camera *camera, struct edge *edge)
{
    const struct feed *feed = &camera->feed;
    uint32_t sequence = atomic_load(&feed->header->read_seq);
    struct feed_slot slot;

    if (atomic_load(&feed->header->write_seq) == sequence)
        return false;
    memset(edge, 0, sizeof *edge);
    edge->sequence = sequence;
    ssize_t got = pread(feed->fd, &slot, sizeof slot, slot_offset(feed, sequence));
    edge->valid = got == (ssize_t)sizeof slot && slot.sequence == sequence;
    if (!edge->valid)
        return true;
    edge->edge_ns = slot.edge_ns;
    edge->encoder = slot.encoder;
    edge->drop = (slot.flags & FEED_FLAG_DROP) != 0;
    edge->incomplete = (slot.flags & FEED_FLAG_INCOMPLETE) != 0;
    return true;
}

/* Unless a restart of the acquisition has emptied the ring meanwhile. */
void feed_release(struct camera *camera, const struct edge *edge)
{
    uint32_t expected = edge->sequence;

    (void)atomic_compare_exchange_strong(&camera->feed.header->read_seq, &expected, edge->sequence + 1);
}

static bool read_picture(struct camera *camera, uint32_t sequence)
{
    const struct feed *feed = &camera->feed;
    size_t length = (size_t)(feed->width * (uint64_t)feed->height * samples_bytes(feed->samples));

    if (!scene_reserve(&camera->scene, feed->width, feed->height, feed->samples))
        return false;
    off_t offset = slot_offset(feed, sequence) + FEED_SLOT_HEADER_BYTES;
    return pread(feed->fd, camera->scene.pixels, length, offset) == (ssize_t)length;
}

/* Copy the picture of an edge into the scene. */
bool feed_picture(struct camera *camera, const struct edge *edge)
{
    return read_picture(camera, edge->sequence);
}

/*
 * Without a line trigger the newest picture is simply what the sensor sees, also when an earlier consumer has seen it.
 * The writer does not touch its slot before it has filled another one: a feed has at least two. False: no picture yet.
 */
bool feed_latest(struct camera *camera)
{
    struct feed *feed = &camera->feed;
    uint32_t position = atomic_load(&feed->header->write_seq);
    bool news = position != atomic_load(&feed->header->read_seq);

    if (news || (!feed->scene_taken && position != 0))
        feed->scene_taken = read_picture(camera, position - 1);
    atomic_store(&feed->header->read_seq, position);
    return feed->scene_taken;
}

int64_t feed_encoder(const struct camera *camera, int64_t otherwise)
{
    return camera->feed.header != NULL ? atomic_load(&camera->feed.header->encoder) : otherwise;
}

void feed_count(struct camera *camera, enum feed_counter counter, uint64_t amount)
{
    struct feed_header *header = camera->feed.header;

    if (header == NULL)
        return;
    switch (counter) {
    case FEED_ACCEPTED:
        atomic_fetch_add(&header->edges_accepted, amount);
        break;
    case FEED_MISSED:
        atomic_fetch_add(&header->edges_missed, amount);
        break;
    case FEED_LOST:
        atomic_fetch_add(&header->edges_lost, amount);
        break;
    }
}

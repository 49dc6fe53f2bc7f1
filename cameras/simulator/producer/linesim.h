/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The producer's own types. One `struct camera` a simulated camera, all static: a handle is the address of
 * something in it, so that a stale or foreign handle is recognised by comparing addresses, never by looking
 * where it points. `camera.lock` guards everything of one camera, its events included; `library.lock` guards
 * the transport layer and the interface. A thread that needs both takes library.lock first.
 */
#ifndef LINESIM_H
#define LINESIM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "device_registers.h"
#include "gentl_api.h"

#define CAMERAS_MAX 16
#define BUFFERS_MAX 256
#define EVENT_QUEUE 512
#define EVENT_BYTES 32
#define PENDING_MAX 64
#define USER_SETS 3
#define PATH_BYTES 512
#define NS_PER_S 1000000000ull
#define NS_PER_MS 1000000ull
#define NS_PER_US 1000ull

#define PRODUCER_VERSION "1.0.0"
#define VENDOR_NAME "Gatesight"
#define MODEL_NAME "LineSim"

struct queued_event {
    uint64_t id;
    size_t length;
    unsigned char data[EVENT_BYTES];
};

/* One registration. It is never freed, so that a thread still waiting on it wakes on valid memory. */
struct event_queue {
    event_type type;
    bool registered;
    bool killed;
    pthread_mutex_t *lock;
    pthread_cond_t arrived;
    uint64_t fired;
    unsigned generation;
    unsigned head;
    unsigned count;
    struct queued_event items[EVENT_QUEUE];
};

enum buffer_state { BUFFER_FREE, BUFFER_INPUT, BUFFER_FILLING, BUFFER_OUTPUT, BUFFER_DELIVERED };

struct buffer {
    bool announced;
    bool owned;
    enum buffer_state state;
    unsigned char *base;
    size_t size;
    void *user;
    /* What the last frame left. */
    size_t filled;
    size_t image_bytes;
    uint32_t width;
    uint32_t height;
    uint32_t offset_x;
    uint32_t offset_y;
    uint32_t pixel_format;
    uint64_t frame_id;
    uint64_t timestamp_ns;
    bool incomplete;
    bool too_large;
    bool new_data;
    unsigned chunk_count;
    uint64_t chunk_ids[CHUNK_COUNT];
    size_t chunk_offsets[CHUNK_COUNT];
};

struct stream {
    bool open;
    bool thread_running;
    bool run;
    bool payload_started;
    pthread_t thread;
    struct buffer buffers[BUFFERS_MAX];
    unsigned input[BUFFERS_MAX];
    unsigned input_head;
    unsigned input_count;
    uint64_t frames_left;
    uint64_t delivered;
    uint64_t underrun;
    uint64_t started;
    struct event_queue new_buffer;
};

/* One accepted trigger. */
struct exposure {
    uint64_t start_ns;
    int64_t encoder;
    uint64_t frame_id;
    bool drop;
    bool incomplete;
};

/* What the sensor sees: samples 1 = 8 bit grey, 2 = 16 bit grey, 3 = 8 bit RGB. Engine thread only. */
struct scene {
    unsigned char *pixels;
    size_t capacity;
    uint32_t width;
    uint32_t height;
    uint32_t samples;
};

struct feed_header;

/* The shared-memory feed. The header is mapped, the pictures are read with pread: a file that somebody cuts
 * short then gives a short read and not a SIGBUS. */
struct feed {
    int fd;
    struct feed_header *header;
    uint64_t device;
    uint64_t inode;
    uint32_t width;
    uint32_t height;
    uint32_t samples;
    uint32_t slots;
    uint64_t slot_bytes;
    uint64_t refused_seen;
    bool scene_taken;
    uint64_t checked_ns;
};

struct camera {
    unsigned index;
    char serial[16];
    char id[32];
    char port_marker;
    char lock_path[PATH_BYTES];
    char feed_path[PATH_BYTES];
    int lock_fd;
    bool open;
    bool dead;
    bool lost_by_command;
    uint32_t back_seen;
    uint64_t lost_until_ns;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned char registers[REGISTER_SPACE];
    unsigned char user_sets[USER_SETS][REGISTER_SPACE];
    bool acquiring;
    uint64_t acquisition_start_ns;
    uint64_t frame_id;
    uint64_t frames_this_start;
    uint64_t busy_until_ns;
    uint64_t next_free_run_ns;
    uint64_t counter;
    uint64_t missed;
    int64_t encoder_zero;
    int64_t encoder_count;
    struct exposure pending[PENDING_MAX];
    unsigned pending_head;
    unsigned pending_count;
    struct stream stream;
    struct event_queue remote_events;
    struct event_queue module_events;
    struct feed feed;
    struct scene scene;
};

struct library {
    pthread_mutex_t lock;
    atomic_bool initialised;
    bool system_open;
    bool interface_open;
    bool list_seen;
    unsigned camera_count;
    struct event_queue system_events;
    struct event_queue interface_events;
    char path[PATH_BYTES];
    struct camera cameras[CAMERAS_MAX];
};

extern struct library library;
extern char interface_marker;

/* result.c: last error of this thread, and the four-way handshake of every Get...Info. */
struct answer {
    info_type *type;
    void *buffer;
    size_t *size;
};
gc_error fail(gc_error code, const char *format, ...) __attribute__((format(printf, 2, 3)));
gc_error answer_bytes(struct answer to, info_type type, const void *data, size_t length);
gc_error answer_text(struct answer to, const char *text);
gc_error answer_size(struct answer to, size_t value);
gc_error answer_u64(struct answer to, uint64_t value);
gc_error answer_u32(struct answer to, uint32_t value);
gc_error answer_i32(struct answer to, int32_t value);
gc_error answer_bool(struct answer to, bool value);
gc_error answer_pointer(struct answer to, void *value);
uint64_t now_ns(void);
struct timespec to_timespec(uint64_t ns);

/* handles.c: which object a handle is; NULL for any other address or when the library is not initialised. */
enum module_kind {
    MODULE_NONE,
    MODULE_SYSTEM,
    MODULE_INTERFACE,
    MODULE_DEVICE,
    MODULE_PORT,
    MODULE_STREAM,
    MODULE_BUFFER,
};
gc_error need_library(void);
enum module_kind module_of(gc_handle handle, struct camera **camera);
struct camera *camera_of_device(gc_handle handle);
struct camera *camera_of_stream(gc_handle handle);
struct buffer *buffer_of(struct camera *camera, gc_handle handle);
const char *module_name(enum module_kind kind);

/* registers.c: call with camera.lock held. */
void registers_reset(struct camera *camera);
void registers_power_on(struct camera *camera);
uint32_t register_u32(const struct camera *camera, uint32_t address);
double register_f64(const struct camera *camera, uint32_t address);
void set_register_u32(struct camera *camera, uint32_t address, uint32_t value);
void set_register_i64(struct camera *camera, uint32_t address, int64_t value);
gc_error register_write(struct camera *camera, uint64_t address, const void *data, size_t length);
gc_error register_read(struct camera *camera, uint64_t address, void *data, size_t length);
gc_error user_set_load(struct camera *camera);
gc_error user_set_save(struct camera *camera);
size_t image_bytes(const struct camera *camera);
size_t payload_bytes(const struct camera *camera);

/* commands.c: what a written command does; call with camera.lock held. */
gc_error run_command(struct camera *camera, uint32_t address);
void acquisition_stop(struct camera *camera);

/* device.c */
void device_close_locked(struct camera *camera);
gc_error stream_stop(struct camera *camera);
void stream_close(struct camera *camera);

/* events.c: post and drop with the queue's lock held. */
void event_init(struct event_queue *queue, event_type type, pthread_mutex_t *lock);
void event_post(struct event_queue *queue, uint64_t id, const void *data, size_t length);
void event_drop(struct event_queue *queue);
void event_empty(struct event_queue *queue);
struct event_queue *event_of(gc_handle handle, struct camera **camera);
void post_remote_event(struct camera *camera, unsigned index, uint64_t id, uint64_t timestamp_ns, uint64_t frame_id);

/* engine.c: the acquisition thread, and the one place where a trigger is accepted or missed. */
void *engine_main(void *camera);
bool trigger_edge(struct camera *camera, uint64_t edge_ns, struct exposure *exposure);
bool software_trigger(struct camera *camera);
bool line_triggered(const struct camera *camera);

/* pixels.c */
void scene_pattern(struct scene *scene, uint32_t width, uint32_t height, uint64_t frame_id, bool moving);
bool scene_reserve(struct scene *scene, uint32_t width, uint32_t height, uint32_t samples);
void render(const struct scene *scene, struct buffer *buffer);

/*
 * feed.c: feed_refresh, feed_close, feed_publish_state, feed_skip_all and feed_count need camera.lock; the rest is the
 * engine thread's. Only the engine thread changes the mapping while it runs, so it may read without the lock.
 */
struct edge {
    bool valid;
    uint32_t sequence;
    uint64_t edge_ns;
    int64_t encoder;
    bool drop;
    bool incomplete;
};
enum feed_counter { FEED_ACCEPTED, FEED_MISSED, FEED_LOST };
void feed_close(struct camera *camera);
void feed_refresh(struct camera *camera);
bool feed_attached(const struct camera *camera);
void feed_publish_state(struct camera *camera);
void feed_skip_all(struct camera *camera);
void feed_count(struct camera *camera, enum feed_counter counter, uint64_t amount);
int64_t feed_encoder(const struct camera *camera, int64_t otherwise);
uint64_t feed_refused(struct camera *camera);
bool feed_empty(const struct feed *feed);
uint32_t feed_position(const struct feed *feed);
void feed_wait(const struct feed *feed, uint32_t seen);
bool feed_peek(const struct camera *camera, struct edge *edge);
bool feed_picture(struct camera *camera, const struct edge *edge);
void feed_release(struct camera *camera, const struct edge *edge);
bool feed_latest(struct camera *camera);

/* faults.c: with camera.lock held. */
bool fault_lost(struct camera *camera);
void fault_lose(struct camera *camera, uint64_t for_ms);
bool fault_take_drop(struct camera *camera);
bool fault_take_incomplete(struct camera *camera);
bool fault_frozen(const struct camera *camera);
uint64_t fault_slow_ns(const struct camera *camera);

#endif

/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Loads linesim.cti and uses one camera from four threads at once: one fetches and queues, one reads and writes
 * registers and triggers, one starts and stops the acquisition, and one asks bad questions. For the sanitizers.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUFFERS 6
#define BUFFER_BYTES (64 * 48 * 4)

typedef int32_t (*call)();
typedef int32_t (*read_call)(void *, uint64_t, void *, size_t *);
typedef int32_t (*write_call)(void *, uint64_t, const void *, size_t *);
typedef int32_t (*handle_call)(void *);
typedef int32_t (*pair_call)(void *, void *);
typedef int32_t (*event_call)(void *, void *, size_t *, uint64_t);
typedef int32_t (*buffer_info_call)(void *, void *, int32_t, int32_t *, void *, size_t *);
typedef int32_t (*start_call)(void *, int32_t, uint64_t);
typedef int32_t (*flag_call)(void *, int32_t);
typedef int32_t (*list_call)(void *, unsigned char *, uint64_t);
typedef int32_t (*open_call)(void *, const char *, void **);
typedef int32_t (*open_device_call)(void *, const char *, int32_t, void **);
typedef int32_t (*register_event_call)(void *, int32_t, void **);
typedef int32_t (*announce_call)(void *, size_t, void *, void **);
typedef int32_t (*child_call)(void *, void **);
typedef int32_t (*root_call)(void **);

static void *producer;
static void *device;
static void *port;
static void *stream;
static void *new_buffer_event;
static atomic_bool stop_all;
static atomic_int frames;

/* Addresses are generated with the build; the test program is told the ones it uses. */
static uint64_t register_address(const char *name);

static call function(const char *name)
{
    call found = (call)dlsym(producer, name);

    if (found == NULL) {
        fprintf(stderr, "no %s\n", name);
        exit(2);
    }
    return found;
}

static void check(int32_t code, const char *what)
{
    if (code == 0)
        return;
    fprintf(stderr, "%s: %d\n", what, code);
    exit(3);
}

static void refuse(int32_t code, const char *what)
{
    if (code != 0)
        return;
    fprintf(stderr, "accepted: %s\n", what);
    exit(6);
}

static void write_u32(const char *name, uint32_t value)
{
    size_t size = sizeof value;

    (void)((write_call)function("GCWritePort"))(
        port, register_address(name), &value, &size);
}

static void write_f64(const char *name, double value)
{
    size_t size = sizeof value;

    (void)((write_call)function("GCWritePort"))(
        port, register_address(name), &value, &size);
}

static void *fetch(void *unused)
{
    event_call get = (event_call)function("EventGetData");
    pair_call queue = (pair_call)function("DSQueueBuffer");
    buffer_info_call info = (buffer_info_call)function("DSGetBufferInfo");

    (void)unused;
    while (!atomic_load(&stop_all)) {
        void *message[2];
        size_t size = sizeof message;
        if (get(new_buffer_event, message, &size, 20) != 0)
            continue;
        uint64_t id = 0;
        int32_t type;
        size_t id_size = sizeof id;
        (void)info(stream, message[0], 16, &type, &id, &id_size);
        atomic_fetch_add(&frames, 1);
        (void)queue(stream, message[0]);
    }
    return NULL;
}

static void *poke(void *unused)
{
    read_call get = (read_call)function("GCReadPort");
    unsigned char all[4096];

    (void)unused;
    for (unsigned i = 0; !atomic_load(&stop_all); i++) {
        size_t size = sizeof all;
        (void)get(port, 0, all, &size);
        write_u32("TriggerSoftware", 1);
        write_u32("TriggerMode", i / 16 % 3 > 0);
        write_u32("TriggerSource", i / 16 % 3 == 2);
        write_u32("SimDropNext", i % 3 == 0);
        write_u32("SimIncompleteNext", i % 5 == 0);
        write_u32("SimFrozen", i % 7 == 0);
        write_f64("ExposureTime", i % 2 == 0 ? 50.0 : __builtin_nan(""));
        usleep(200);
    }
    return NULL;
}

static void *restart(void *unused)
{
    start_call start = (start_call)function("DSStartAcquisition");
    flag_call stop = (flag_call)function("DSStopAcquisition");
    flag_call flush = (flag_call)function("DSFlushQueue");

    (void)unused;
    while (!atomic_load(&stop_all)) {
        (void)flush(stream, 2);
        (void)start(stream, 0, UINT64_MAX);
        write_u32("AcquisitionStart", 1);
        usleep(15000);
        write_u32("AcquisitionStop", 1);
        (void)stop(stream, 1);
    }
    return NULL;
}

static void *misuse(void *unused)
{
    read_call get = (read_call)function("GCReadPort");
    write_call put = (write_call)function("GCWritePort");
    handle_call kill_event = (handle_call)function("EventKill");
    pair_call queue = (pair_call)function("DSQueueBuffer");
    static const uint64_t outside[] = {
        0xfc1, 0xfff, 0x1000, 0xffff, 0xfffff, UINT64_MAX, UINT64_MAX - 3, UINT64_MAX - 63,
    };
    unsigned char bytes[64] = {0};
    int foreign = 0;

    (void)unused;
    for (unsigned i = 0; !atomic_load(&stop_all); i++) {
        size_t size = sizeof bytes;
        refuse(get(port, outside[i % 8], bytes, &size), "read outside the registers");
        size = i % 4 == 0 ? SIZE_MAX : 3;
        refuse(put(port, outside[i % 8], bytes, &size), "write outside the registers");
        size = SIZE_MAX;
        refuse(get(port, i % 2 == 0 ? 0x100 : 0x10000, bytes, &size), "read of everything");
        size = 3;
        refuse(put(port, register_address("Width"), bytes, &size), "write of part of a register");
        size = 8;
        refuse(put(port, register_address("Width"), bytes, &size), "write of more than a register");
        refuse(queue(stream, &foreign), "queue of a foreign buffer");
        refuse(get(&foreign, 0, bytes, &size), "read of a foreign port");
        (void)kill_event(new_buffer_event);
        usleep(700);
    }
    return NULL;
}

static uint64_t register_address(const char *name)
{
    static char known[128][40];
    static uint64_t values[128];
    static int count = -1;

    if (count < 0) {
        /* Filled before the threads start, by main. */
        const char *list = getenv("HAMMER_REGISTERS");
        count = 0;
        while (list != NULL && *list != '\0' && count < 128) {
            int used = 0;
            unsigned long long value = 0;
            if (sscanf(list, "%39[A-Za-z0-9]=%llu,%n", known[count], &value, &used) != 2 || used == 0)
                break;
            values[count++] = value;
            list += used;
        }
    }
    for (int i = 0; i < count; i++) {
        if (strcmp(known[i], name) == 0)
            return values[i];
    }
    fprintf(stderr, "no register %s\n", name);
    exit(4);
}

static void open_all(void)
{
    void *system;
    void *interface;
    unsigned char changed;

    check(function("GCInitLib")(), "GCInitLib");
    check(((root_call)function("TLOpen"))(&system), "TLOpen");
    check(((list_call)function("TLUpdateInterfaceList"))(system, &changed, 0), "TL list");
    check(((open_call)function("TLOpenInterface"))(system, "LineSimIF", &interface), "IF");
    check(((list_call)function("IFUpdateDeviceList"))(interface, &changed, 0), "list");
    check(((open_device_call)function("IFOpenDevice"))(interface, "linesim-LS0001", 3, &device),
          "device");
    check(((child_call)function("DevGetPort"))(device, &port), "port");
    check(((open_call)function("DevOpenDataStream"))(device, "Stream0", &stream), "stream");
    check(((register_event_call)function("GCRegisterEvent"))(stream, 1, &new_buffer_event), "event");
    for (int i = 0; i < BUFFERS; i++) {
        void *buffer;
        check(((announce_call)function("DSAllocAndAnnounceBuffer"))(
                  stream, BUFFER_BYTES, NULL, &buffer),
              "announce");
    }
}

int main(int argc, char **argv)
{
    void *(*const jobs[])(void *) = {fetch, poke, restart, misuse};
    pthread_t threads[4];

    producer = argc == 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
    if (producer == NULL) {
        fprintf(stderr, "cannot load the producer\n");
        return 1;
    }
    for (int round = 0; round < 2; round++) {
        atomic_store(&stop_all, false);
        open_all();
        write_f64("AcquisitionFrameRate", 2000.0);
        write_u32("SimReadoutTime", 10);
        write_u32("ChunkModeActive", 1);
        for (int i = 0; i < 4; i++)
            pthread_create(&threads[i], NULL, jobs[i], NULL);
        usleep(700000);
        atomic_store(&stop_all, true);
        for (int i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
        if (round == 0) {
            check(((handle_call)function("DSClose"))(stream), "DSClose");
            check(((handle_call)function("DevClose"))(device), "DevClose");
        }
        /* The second round leaves everything open: closing the library must do. */
        check(function("GCCloseLib")(), "GCCloseLib");
    }
    printf("%d frames\n", atomic_load(&frames));
    return atomic_load(&frames) > 0 ? 0 : 5;
}

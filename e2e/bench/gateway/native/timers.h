/* A binary heap of timers: the earliest is at the top. Whoever is in it carries its place, so that it can leave. */
#ifndef TIMERS_H
#define TIMERS_H

#include <stdint.h>
#include <time.h>

#define NOWHERE (-1)

struct timer {
    uint64_t due; /* nanoseconds of the monotonic clock */
    int place;    /* in the heap, or NOWHERE */
};

struct heap {
    struct timer **timers;
    int count;
};

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void heap_put(struct heap *heap, int place, struct timer *timer) {
    heap->timers[place] = timer;
    timer->place = place;
}

/* Move the timer at `place` up or down to where it belongs. */
static inline void heap_settle(struct heap *heap, int place) {
    struct timer *moved = heap->timers[place];
    while (place > 0 && heap->timers[(place - 1) / 2]->due > moved->due) {
        heap_put(heap, place, heap->timers[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    for (;;) {
        int child = 2 * place + 1;
        if (child + 1 < heap->count && heap->timers[child + 1]->due < heap->timers[child]->due)
            child++;
        if (child >= heap->count || heap->timers[child]->due >= moved->due)
            break;
        heap_put(heap, place, heap->timers[child]);
        place = child;
    }
    heap_put(heap, place, moved);
}

static inline void heap_add(struct heap *heap, struct timer *timer) {
    heap_put(heap, heap->count++, timer);
    heap_settle(heap, timer->place);
}

static inline void heap_remove(struct heap *heap, struct timer *timer) {
    int place = timer->place;
    if (place == NOWHERE)
        return;
    timer->place = NOWHERE;
    heap->count--;
    if (place != heap->count) {
        heap_put(heap, place, heap->timers[heap->count]);
        heap_settle(heap, place);
    }
}

#endif

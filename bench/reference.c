/* The tight loop that unflux is measured against: a pcap file to distinct (owner, IPv4 address) pairs and
 * the least TTL of each owner. Little-endian microsecond pcap, Ethernet, IPv4, UDP port 53, A records; no
 * books, no other types, no times, no clients, nothing for hostile input but bounds. One thread.
 *
 *   cc -O3 -march=native -o reference bench/reference.c && ./reference capture.pcap
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct { uint32_t hash, start, length, ttl; } Name;

static uint8_t *arena; static size_t arena_used, arena_size;
static Name *names; static uint32_t n_names, names_size;
static uint32_t *by_name; static uint32_t by_name_size;
static uint64_t *pairs; static uint64_t pairs_size, n_pairs;

static uint16_t be16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static uint32_t be32(const uint8_t *p) { return (uint32_t)be16(p) << 16 | be16(p + 2); }
static uint32_t le32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static void *must(void *p) { if (!p) { perror("memory"); exit(1); } return p; }

/* A name in lower case into `out`; returns where it ended in the message, 0 if it is broken. */
static size_t name_at(const uint8_t *m, size_t n, size_t at, uint8_t *out, unsigned *length) {
    size_t end = 0; unsigned have = 0, hops = 0;
    for (;;) {
        if (at >= n) return 0;
        uint8_t c = m[at];
        if (c >= 0xC0) {
            if (at + 1 >= n || ++hops > 16) return 0;
            if (!end) end = at + 2;
            at = (size_t)(c & 0x3F) << 8 | m[at + 1];
            continue;
        }
        if (c > 63 || at + 1 + c > n || have + c + 1u > 255) return 0;
        out[have++] = c;
        for (unsigned i = 0; i < c; i++) {
            uint8_t b = m[at + 1 + i];
            out[have++] = (uint8_t)(b + ((uint8_t)(b - 'A') < 26) * 32);
        }
        at += 1u + c;
        if (!c) { *length = have; return end ? end : at; }
    }
}

static size_t skip_name(const uint8_t *m, size_t n, size_t at) {
    while (at < n) {
        if (m[at] >= 0xC0) return at + 2;
        if (!m[at]) return at + 1;
        at += 1u + m[at];
    }
    return 0;
}

static uint32_t hash_of(const uint8_t *p, unsigned n) {
    uint64_t h = n * 0x9E3779B97F4A7C15ull;
    while (n >= 8) { uint64_t v; memcpy(&v, p, 8); h = (h ^ v) * 0xFF51AFD7ED558CCDull; h ^= h >> 32; p += 8; n -= 8; }
    uint64_t v = 0; memcpy(&v, p, n);
    h = (h ^ v) * 0xC4CEB9FE1A85EC53ull;
    return (uint32_t)(h ^ h >> 32);
}

static void grow_names(void) {
    by_name_size = by_name_size ? by_name_size * 2 : 1u << 16;
    free(by_name);
    by_name = must(calloc(by_name_size, 4));
    for (uint32_t i = 0; i < n_names; i++) {
        uint32_t s = names[i].hash & (by_name_size - 1);
        while (by_name[s]) s = (s + 1) & (by_name_size - 1);
        by_name[s] = i + 1;
    }
}

static uint32_t intern(const uint8_t *text, unsigned length) {
    if (2 * (n_names + 1) > by_name_size) grow_names();
    uint32_t h = hash_of(text, length), s = h & (by_name_size - 1);
    for (; by_name[s]; s = (s + 1) & (by_name_size - 1)) {
        Name *one = &names[by_name[s] - 1];
        if (one->hash == h && one->length == length && !memcmp(arena + one->start, text, length)) return by_name[s] - 1;
    }
    if (n_names == names_size) { names_size = names_size ? names_size * 2 : 1u << 16; names = must(realloc(names, names_size * sizeof *names)); }
    if (arena_used + length > arena_size) { arena_size = arena_size ? arena_size * 2 : 1u << 20; arena = must(realloc(arena, arena_size)); }
    memcpy(arena + arena_used, text, length);
    names[n_names] = (Name){h, (uint32_t)arena_used, length, UINT32_MAX};
    arena_used += length;
    by_name[s] = n_names + 1;
    return n_names++;
}

static void add_pair(uint64_t key) {
    if (2 * (n_pairs + 1) > pairs_size) {
        uint64_t old_size = pairs_size, *old = pairs;
        pairs_size = old_size ? old_size * 2 : 1u << 18;
        pairs = must(calloc(pairs_size, 8));
        for (uint64_t i = 0; i < old_size; i++) if (old[i]) {
            uint64_t s = old[i] * 0x9E3779B97F4A7C15ull >> 20 & (pairs_size - 1);
            while (pairs[s]) s = (s + 1) & (pairs_size - 1);
            pairs[s] = old[i];
        }
        free(old);
    }
    uint64_t s = key * 0x9E3779B97F4A7C15ull >> 20 & (pairs_size - 1);
    for (; pairs[s]; s = (s + 1) & (pairs_size - 1)) if (pairs[s] == key) return;
    pairs[s] = key;
    n_pairs++;
}

static void message(const uint8_t *m, size_t n) {
    if (n < 12 || !(m[2] & 0x80)) return;
    unsigned questions = be16(m + 4), answers = be16(m + 6), length = 0;
    size_t at = 12;
    while (questions--) { at = skip_name(m, n, at); if (!at || (at += 4) > n) return; }
    uint8_t text[256];
    size_t last = 0; uint32_t owner = 0;
    while (answers--) {
        size_t pointer = at + 1 < n && m[at] >= 0xC0 ? be16(m + at) : 0;
        size_t end = pointer && pointer == last ? at + 2 : name_at(m, n, at, text, &length);
        if (!end || end + 10 > n) return;
        size_t rdata = end + 10, size = be16(m + end + 8);
        if (rdata + size > n) return;
        if (be16(m + end) == 1 && size == 4) {
            if (!pointer || pointer != last) { owner = intern(text, length); last = pointer; }
            uint32_t ttl = be32(m + end + 4);
            if (ttl < names[owner].ttl) names[owner].ttl = ttl;
            add_pair((uint64_t)(owner + 1) << 32 | be32(m + rdata));
        } else if (!pointer || pointer != last) last = 0;
        at = rdata + size;
    }
}

int main(int argc, char **argv) {
    int file = argc == 2 ? open(argv[1], O_RDONLY) : -1;
    struct stat about;
    if (file < 0 || fstat(file, &about) || about.st_size < 24) { fprintf(stderr, "usage: reference CAPTURE.pcap\n"); return 2; }
    size_t size = (size_t)about.st_size, at = 24;
    const uint8_t *p = mmap(0, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    if (p == MAP_FAILED || le32(p) != 0xA1B2C3D4) { fprintf(stderr, "no little-endian microsecond pcap\n"); return 1; }
    uint64_t packets = 0;
    while (at + 16 <= size) {
        size_t n = le32(p + at + 8);
        if (at + 16 + n > size) break;
        const uint8_t *f = p + at + 16;
        at += 16 + n;
        packets++;
        if (n < 42 || be16(f + 12) != 0x0800 || f[23] != 17) continue;
        size_t ip = (f[14] & 15) * 4u;
        if (n < 14 + ip + 8 || (be16(f + 20) & 0x3FFF)) continue;
        const uint8_t *u = f + 14 + ip;
        size_t length = be16(u + 4);
        if (be16(u) != 53 || length < 8 || 14 + ip + length > n) continue;
        message(u + 8, length - 8);
    }
    printf("%llu packets, %u names, %llu pairs\n", (unsigned long long)packets, n_names, (unsigned long long)n_pairs);
    return 0;
}

/*
 * The loop that the addon's touch() is measured against: what a C programmer would write, without guard and bookkeeping.
 * touch FILE LENGTH [OFFSET [OTHERS]]: maps LENGTH bytes of FILE, from OFFSET on, at a multiple of 2 MiB, then for each line "STRIDE
 * DROP REPEAT TIMED" on stdin prints the nanoseconds that REPEAT passes of one locked or per STRIDE bytes took; DROP is 1 for dropping
 * the page-table entries before each, TIMED is 1 for a sample of the clock around every access, as well. OTHERS is how many other
 * mappings the process has: the kernel looks through them at every fault, and Node has some hundreds.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

static inline int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC_RAW, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline void touch(char* at) {
#if defined(__x86_64__)
  __asm__ volatile("lock orq $0, %0" : "+m"(*(volatile uint64_t*)at) : : "cc");
#else
  __atomic_fetch_or((uint64_t*)at, 0, __ATOMIC_SEQ_CST);
#endif
}

int main(int argc, char** argv) {
  if (argc < 3 || argc > 5) return 2;
  const off_t offset = argc > 3 ? strtoll(argv[3], NULL, 10) : 0;
  const size_t length = strtoull(argv[2], NULL, 10);
  const size_t align = 2 << 20;
  const int fd = open(argv[1], O_RDWR);
  // Neighbours of different protection stay mappings of their own.
  for (long i = argc > 4 ? strtol(argv[4], NULL, 10) : 0; i > 0; --i)
    if (mmap(NULL, 4096, i % 2 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) return 1;
  char* room = mmap(NULL, length + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (fd < 0 || room == MAP_FAILED) return 1;
  char* memory = (char*)(((uintptr_t)room + align - 1) / align * align);
  if (mmap(memory, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, offset) == MAP_FAILED) return 1;
  double* samples = malloc(length / 4096 * sizeof(double));
  for (size_t i = 0; i < length / 4096; ++i) samples[i] = 0;

  size_t step, passes;
  int drop, timed;
  while (scanf("%zu %d %zu %d", &step, &drop, &passes, &timed) == 4) {
    // In registers, as a loop of constants would have them.
    const size_t stride = step, repeat = passes, count = length / stride;
    int64_t total = 0;
    for (size_t pass = 0; pass < repeat; ++pass) {
      if (drop) madvise(memory, length, MADV_DONTNEED);
      const int64_t started = now();
      if (timed) {
        for (size_t i = 0; i < count; ++i) {
          const int64_t before = now();
          touch(memory + i * stride);
          samples[i] = (double)(now() - before);
        }
      } else {
        for (size_t i = 0; i < count; ++i) touch(memory + i * stride);
      }
      total += now() - started;
    }
    printf("%lld\n", (long long)total);
    fflush(stdout);
  }
  return 0;
}

#include "access.h"

#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include "errors.h"

namespace daxrig {
namespace {

constexpr std::size_t kPage = 4096;  // step in which progress is kept; faults come in pages of at least this size

/** Bytes up to the next page border, so that progress stops exactly at a page that faults. */
std::size_t toBorder(const std::uint8_t* at, std::size_t left) noexcept {
  return std::min(left, kPage - (reinterpret_cast<std::uintptr_t>(at) & (kPage - 1)));
}

std::uint64_t load64(const std::uint8_t* at) noexcept {
  return __atomic_load_n(reinterpret_cast<const std::uint64_t*>(at), __ATOMIC_RELAXED);
}
std::uint8_t load8(const std::uint8_t* at) noexcept { return __atomic_load_n(at, __ATOMIC_RELAXED); }
bool aligned8(const void* at) noexcept { return (reinterpret_cast<std::uintptr_t>(at) & 7) == 0; }

template <Access access>
inline void accessOnce(std::uint8_t* at, std::uint64_t value) noexcept {
  auto* word = reinterpret_cast<volatile std::uint64_t*>(at);
  if constexpr (access == Access::Read) {
    (void)*word;
  } else if constexpr (access == Access::Write) {
    *word = value;
  } else {
#if defined(__x86_64__)
    // Written out: a compiler may turn an atomic or with 0 into a fence and a load, which would not be a write fault.
    asm volatile("lock orq $0, %0" : "+m"(*word) : : "cc");
#else
    __atomic_fetch_or(word, 0, __ATOMIC_SEQ_CST);
#endif
  }
}

inline std::int64_t clockNs(clockid_t clock) noexcept {
  timespec now;
  clock_gettime(clock, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

inline std::uint64_t ticks() noexcept {
#if defined(__x86_64__)
  // Fenced on both sides: neither the access may slip out of the timed window nor anything else into it.
  _mm_lfence();
  const std::uint64_t now = __rdtsc();
  _mm_lfence();
  return now;
#elif defined(__aarch64__)
  std::uint64_t now;
  asm volatile("isb; mrs %0, cntvct_el0; isb" : "=r"(now) : : "memory");
  return now;
#else
  return 0;
#endif
}

template <Clock clock>
inline std::int64_t readClock() noexcept {
  if constexpr (clock == Clock::MonotonicRaw) return clockNs(CLOCK_MONOTONIC_RAW);
  if constexpr (clock == Clock::Monotonic) return clockNs(CLOCK_MONOTONIC);
  if constexpr (clock == Clock::Tsc) return static_cast<std::int64_t>(ticks());
  return 0;
}

struct Loop {
  std::uint8_t* start;
  std::size_t count;
  std::size_t stride;
  std::uint64_t value;
  const std::uint32_t* order;  // nullptr: sequential
  double* samples;
};

// No count is kept on the way: even one more store per access would show beside a plain loop. See accessesBefore().
template <Access access, Clock clock, bool random>
void runLoop(const Loop& loop) noexcept {
  const Loop here = loop;  // in registers: the accesses might alias the original
  std::uint8_t* next = here.start;
  for (std::size_t i = 0; i < here.count; ++i) {
    std::uint8_t* at = random ? here.start + here.order[i] * here.stride : next;
    if constexpr (clock == Clock::None) {
      accessOnce<access>(at, here.value);
    } else {
      const std::int64_t before = readClock<clock>();
      accessOnce<access>(at, here.value);
      const std::int64_t after = readClock<clock>();
      here.samples[i] = static_cast<double>(after - before);
    }
    next += here.stride;
  }
}

using LoopFunction = void (*)(const Loop&) noexcept;

template <Access access, Clock clock>
LoopFunction pickOrder(bool random) {
  return random ? &runLoop<access, clock, true> : &runLoop<access, clock, false>;
}
template <Access access>
LoopFunction pickClock(Clock clock, bool random) {
  switch (clock) {
    case Clock::MonotonicRaw: return pickOrder<access, Clock::MonotonicRaw>(random);
    case Clock::Monotonic: return pickOrder<access, Clock::Monotonic>(random);
    case Clock::Tsc: return pickOrder<access, Clock::Tsc>(random);
    case Clock::None: break;
  }
  return pickOrder<access, Clock::None>(random);
}
LoopFunction pickLoop(const TouchPlan& plan) {
  switch (plan.access) {
    case Access::Write: return pickClock<Access::Write>(plan.clock, plan.random);
    case Access::ReadModifyWrite: return pickClock<Access::ReadModifyWrite>(plan.clock, plan.random);
    case Access::Read: break;
  }
  return pickClock<Access::Read>(plan.clock, plan.random);
}

std::vector<std::uint32_t> shuffled(std::size_t count, std::uint64_t seed) {
  std::vector<std::uint32_t> order(count);
  for (std::size_t i = 0; i < count; ++i) order[i] = static_cast<std::uint32_t>(i);
  const std::uint64_t start = words::start(seed);
  for (std::size_t i = count; i > 1; --i) std::swap(order[i - 1], order[words::at(start, i) % i]);
  return order;
}

/**
 * How many accesses a loop had completed before the one that met a fault, told by the fault's address: the first access to
 * exactly that address, or else (a memory failure may name the lost block by its start) the first one into its block.
 */
std::size_t accessesBefore(const Fault& fault, const Loop& loop) noexcept {
  const auto start = reinterpret_cast<std::uintptr_t>(loop.start);
  const std::uintptr_t block = std::uintptr_t{1} << (fault.lsb > 0 && fault.lsb < 48 ? fault.lsb : 3);
  const std::uintptr_t blockStart = fault.address & ~(block - 1);
  if (loop.order == nullptr) {
    if (loop.stride == 0 || fault.address < start) return 0;
    const std::uintptr_t target = (fault.address - start) % loop.stride == 0 ? fault.address : std::max(blockStart, start);
    return std::min<std::size_t>((target - start + loop.stride - 1) / loop.stride, loop.count - 1);
  }
  std::size_t intoBlock = 0;
  bool found = false;
  for (std::size_t i = 0; i < loop.count; ++i) {
    const std::uintptr_t address = start + loop.order[i] * loop.stride;
    if (address == fault.address) return i;
    if (!found && address - blockStart < block) {
      intoBlock = i;
      found = true;
    }
  }
  return intoBlock;
}

/** Runs the loop once on a word of our own: its code, the clock and the stack are then mapped, and cost no fault later. */
void rehearse(LoopFunction function, const TouchPlan& plan) noexcept {
  alignas(8) std::uint8_t word[8] = {};
  const std::uint32_t order = 0;
  double sample = 0;
  function({word, 1, 0, plan.value, &order, &sample});
}

void compareBytes(const std::uint8_t* start, std::size_t from, std::size_t to, std::uint8_t byte, volatile Verdict* verdict) noexcept {
  const std::uint64_t wide = byte * 0x0101010101010101u;
  std::uint64_t wrong = 0;
  for (std::size_t i = from; i < to;) {
    if (to - i >= 8 && aligned8(start + i) && load64(start + i) == wide) {
      i += 8;
      continue;
    }
    // One byte at a time: the edges, and the neighbourhood of a wrong one.
    const std::uint8_t actual = load8(start + i);
    if (actual != byte && wrong++ == 0 && verdict->mismatches == 0) {
      verdict->firstOffset = i;
      verdict->expected = byte;
      verdict->actual = actual;
    }
    ++i;
  }
  verdict->mismatches = verdict->mismatches + wrong;
}

// A word of another place is recognised up to this distance (in words: 8 TiB); beyond, chance would say so too often.
constexpr std::uint64_t kFarthestWord = std::uint64_t{1} << 40;

void compareWords(const std::uint8_t* start, std::size_t from, std::size_t to, const Pattern& pattern, volatile Verdict* verdict) noexcept {
  const std::uint64_t seedStart = words::start(pattern.seed);
  std::uint64_t wrong = 0;
  for (std::size_t i = from; i < to; i += 8) {
    const std::uint64_t expected = words::at(seedStart, (pattern.base + i) / 8);
    const std::uint64_t actual = load64(start + i);
    if (actual == expected) continue;
    if (wrong++ == 0 && verdict->mismatches == 0) {
      verdict->firstOffset = i;
      verdict->expected = expected;
      verdict->actual = actual;
      const std::uint64_t index = words::indexOf(seedStart, actual);
      verdict->misplaced = index < kFarthestWord;
      verdict->belongsAt = index < kFarthestWord ? index * 8 : 0;
    }
  }
  verdict->mismatches = verdict->mismatches + wrong;
}

}  // namespace

std::int64_t nanoseconds(int clock) noexcept { return clockNs(clock); }

bool hasTsc() noexcept {
#if defined(__x86_64__) || defined(__aarch64__)
  return true;
#else
  return false;
#endif
}
std::uint64_t readTsc() noexcept { return ticks(); }

TouchResult touch(const TouchPlan& plan) {
  std::vector<std::uint32_t> order;
  if (plan.random) order = shuffled(plan.count, plan.seed);
  // Written now, so that the array's own page faults are not counted.
  if (plan.clock != Clock::None) std::fill_n(plan.samples, plan.count, 0.0);

  const LoopFunction function = pickLoop(plan);
  rehearse(function, plan);

  TouchResult result;
  const Loop loop{plan.span.start, plan.count, plan.stride, plan.value, plan.random ? order.data() : nullptr, plan.samples};
  rusage before{};
  rusage after{};
  getrusage(RUSAGE_THREAD, &before);
  const std::int64_t started = clockNs(CLOCK_MONOTONIC_RAW);
  result.fault = guarded(plan.span.guardBegin, plan.span.guardLength, OnFault::Jump, [&loop, function] { function(loop); });
  result.totalNs = clockNs(CLOCK_MONOTONIC_RAW) - started;
  getrusage(RUSAGE_THREAD, &after);
  result.done = result.fault.signal == 0 ? plan.count : accessesBefore(result.fault, loop);
  result.minorFaults = after.ru_minflt - before.ru_minflt;
  result.majorFaults = after.ru_majflt - before.ru_majflt;
  return result;
}

Progress readOut(const Span& from, std::uint8_t* to) {
  Progress progress;
  volatile std::size_t done = 0;
  volatile std::size_t* doneAt = &done;
  progress.fault = guarded(from.guardBegin, from.guardLength, OnFault::Jump, [=] {
    for (std::size_t i = 0; i < from.length;) {
      const std::size_t piece = toBorder(from.start + i, from.length - i);
      std::memcpy(to + i, from.start + i, piece);
      i += piece;
      *doneAt = i;
    }
  });
  progress.done = done;
  return progress;
}

Progress writeIn(const Span& to, const std::uint8_t* from) {
  Progress progress;
  volatile std::size_t done = 0;
  volatile std::size_t* doneAt = &done;
  progress.fault = guarded(to.guardBegin, to.guardLength, OnFault::Jump, [=] {
    for (std::size_t i = 0; i < to.length;) {
      const std::size_t piece = toBorder(to.start + i, to.length - i);
      std::memcpy(to.start + i, from + i, piece);
      i += piece;
      *doneAt = i;
    }
  });
  progress.done = done;
  return progress;
}

void fillPlain(std::uint8_t* start, std::size_t length, const Pattern& pattern, volatile std::size_t* done) noexcept {
  const std::uint64_t seedStart = words::start(pattern.seed);
  for (std::size_t i = 0; i < length;) {
    const std::size_t piece = toBorder(start + i, length - i);
    if (pattern.kind == Pattern::Kind::Byte) {
      std::memset(start + i, pattern.byte, piece);
    } else {
      for (std::size_t word = i; word < i + piece; word += 8) {
        const std::uint64_t value = words::at(seedStart, (pattern.base + word) / 8);
        std::memcpy(start + word, &value, sizeof value);
      }
    }
    i += piece;
    *done = i;
  }
}

void verifyPlain(const std::uint8_t* start, std::size_t length, const Pattern& pattern, volatile Verdict* verdict) noexcept {
  for (std::size_t i = 0; i < length;) {
    const std::size_t piece = toBorder(start + i, length - i);
    if (pattern.kind == Pattern::Kind::Byte)
      compareBytes(start, i, i + piece, pattern.byte, verdict);
    else
      compareWords(start, i, i + piece, pattern, verdict);
    i += piece;
    verdict->done = i;
  }
}

Progress fill(const Span& span, const Pattern& pattern) {
  Progress progress;
  volatile std::size_t done = 0;
  volatile std::size_t* doneAt = &done;
  progress.fault = guarded(span.guardBegin, span.guardLength, OnFault::Jump,
                           [=] { fillPlain(span.start, span.length, pattern, doneAt); });
  progress.done = done;
  return progress;
}

Verified verify(const Span& span, const Pattern& pattern) {
  Verified verified;
  volatile Verdict* verdict = &verified.verdict;
  verified.fault = guarded(span.guardBegin, span.guardLength, OnFault::Jump,
                           [=] { verifyPlain(span.start, span.length, pattern, verdict); });
  return verified;
}

}  // namespace daxrig

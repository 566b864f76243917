// Everything that reads or writes mapped memory from user space. One guard per call; the loops inside keep their progress in
// the caller's memory through volatile, so that it survives a jump.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "guard.h"
#include "pattern.h"

namespace daxrig {

/** The bytes a guard stands for, and the part of them that is accessed. */
struct Span {
  std::uint8_t* guardBegin;
  std::size_t guardLength;
  std::uint8_t* start;
  std::size_t length;
};

enum class Access { Read, Write, ReadModifyWrite };
enum class Clock { None, MonotonicRaw, Monotonic, Tsc };

struct TouchPlan {
  Span span;
  std::size_t count;
  std::size_t stride;  // bytes; a multiple of 8, as span.start is
  Access access;
  std::uint64_t value;  // stored by Access::Write
  Clock clock;
  double* samples;  // count entries unless clock is None; ns, or ticks of Clock::Tsc
  bool random;
  std::uint64_t seed;
};

struct TouchResult {
  std::size_t done = 0;  // accesses before the one that met the fault; 0 then if all go to one address
  long minorFaults = 0;  // RUSAGE_THREAD, around the loop alone
  long majorFaults = 0;
  std::int64_t totalNs = 0;  // CLOCK_MONOTONIC_RAW
  Fault fault;
};

/** Nanoseconds of a POSIX clock. */
std::int64_t nanoseconds(int clock) noexcept;

/** Whether this machine's user space can read a cycle counter (Clock::Tsc). */
bool hasTsc() noexcept;
std::uint64_t readTsc() noexcept;

TouchResult touch(const TouchPlan& plan);

struct Progress {
  std::size_t done = 0;  // bytes
  Fault fault;
};

Progress readOut(const Span& from, std::uint8_t* to);
Progress writeIn(const Span& to, const std::uint8_t* from);
Progress fill(const Span& span, const Pattern& pattern);

struct Verified {
  Verdict verdict;
  Fault fault;
};
Verified verify(const Span& span, const Pattern& pattern);

/** The same without a guard: for memory that cannot fault, and for the child of a fork, which brings its own. */
void fillPlain(std::uint8_t* start, std::size_t length, const Pattern& pattern, volatile std::size_t* done) noexcept;
void verifyPlain(const std::uint8_t* start, std::size_t length, const Pattern& pattern, volatile Verdict* verdict) noexcept;

}  // namespace daxrig

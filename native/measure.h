// Timed rounds: a small program of operations, repeated, in which the steps asked for are timed one by one. The clock stands
// right beside the operation, whatever has to be prepared for it outside; no JavaScript runs between two steps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "access.h"
#include "fd.h"
#include "region.h"

namespace daxrig {

/** What an operation is and needs; a row of the table in measure.cc. */
struct MeasureKind;
/** RangeError with the list of names for one that is not in the table. */
const MeasureKind& measureKind(std::string_view name);
enum class MeasureFlags { None, Share, Advice, Sync, Allocate, Flush };
struct MeasureNeeds {
  enum class Where { None, Memory, Own, Mapping };
  /** Memory: a mapping or, without one, what the step `map` mapped last. Own: only the latter. */
  Where where = Where::None;
  bool fd = false;
  bool length = false;
  MeasureFlags flags = MeasureFlags::None;
};
MeasureNeeds needsOf(const MeasureKind& kind);
/** CLWB, CLFLUSHOPT or CLFLUSH, as far as this CPU has them; RangeError for another name. */
int flushOf(std::string_view name);
/** Whether this CPU has the instruction. */
bool hasFlush(int instruction) noexcept;

struct MeasureStep {
  const MeasureKind* kind = nullptr;
  bool timed = false;
  /** A fault is what is measured: it ends the step and not the rounds. */
  bool mayFault = false;
  std::shared_ptr<Region> region;
  std::uint64_t at = 0;
  std::uint64_t length = 0;
  std::uint64_t stride = 0;   // of touch; 0: one access
  std::uint64_t advance = 0;  // added to both places with every round
  std::shared_ptr<Fd> fd;
  std::uint64_t fileAt = 0;
  int flags = 0;
  Access access = Access::Read;
  unsigned threads = 1;
};

struct MeasurePlan {
  std::uint64_t rounds = 0;
  std::vector<MeasureStep> steps;
};

struct MeasureStepResult {
  std::uint64_t runs = 0;
  long minorFaults = 0;  // of the calling thread, of all runs
  long majorFaults = 0;
  std::uint64_t signals = 0;
  double* samples = nullptr;  // ns by CLOCK_MONOTONIC_RAW, one per round, if timed; the caller's
};

struct MeasureResult {
  std::uint64_t rounds = 0;  // completed
  std::vector<MeasureStepResult> steps;
  Fault fault;               // that ended the rounds, or that a step met last
  std::uintptr_t base = 0;   // of the memory that the fault's step worked on
};

constexpr std::size_t kMaxMeasureSteps = 16;
constexpr unsigned kMaxMeasureThreads = 64;

/** Runs the rounds. `samples[i]` has room for all rounds where step i is timed. Throws SystemFailure for a call that failed. */
MeasureResult measure(const MeasurePlan& plan, const std::vector<double*>& samples);

}  // namespace daxrig

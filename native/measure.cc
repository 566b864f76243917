#include "measure.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "errors.h"
#include "names.h"
#include "pattern.h"
#include "program.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>
#endif

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

namespace daxrig {
namespace {

constexpr std::size_t kLine = 64;
constexpr std::size_t kHuge = std::size_t{2} << 20;

std::int64_t now() noexcept { return nanoseconds(CLOCK_MONOTONIC_RAW); }

/** What `map` mapped last, until `unmap`; gone with the plan however that ends. */
struct Own {
  std::uint8_t* begin = nullptr;
  std::size_t length = 0;

  Own() = default;
  Own(const Own&) = delete;
  Own& operator=(const Own&) = delete;
  ~Own() { drop(); }
  void drop() noexcept {
    if (begin != nullptr) munmap(begin, length);
    begin = nullptr;
  }
};

/** One execution of a step. */
struct Turn {
  const MeasureStep& step;
  Own& own;
  std::uint64_t moved;  // by how much the places have advanced
  Fault fault;

  std::uint64_t fileAt() const { return step.fileAt + moved; }
  std::uint8_t* base() const { return step.region ? step.region->begin() : own.begin; }
  std::size_t room() const { return step.region ? step.region->length() : own.length; }
  std::uint8_t* at() const { return base() + step.at + moved; }
};

// ------------------------------------------------------------------------------------------------------------- operations
// Each gives the nanoseconds of its operation alone, or throws SystemFailure.

template <class Call>
std::int64_t timedCall(const char* name, Call call) {
  const std::int64_t before = now();
  const auto result = call();
  const std::int64_t after = now();
  check(result, name);
  return after - before;
}

/** A place for `length` bytes at a multiple of 2 MiB, so that huge pages are possible; only a hint for mmap(2). */
std::uint8_t* freePlace(std::size_t length) {
  void* found = check(mmap(nullptr, length + kHuge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), "mmap");
  munmap(found, length + kHuge);
  return reinterpret_cast<std::uint8_t*>((reinterpret_cast<std::uintptr_t>(found) + kHuge - 1) & ~(kHuge - 1));
}

std::int64_t map(Turn& turn) {
  turn.own.drop();
  const MeasureStep& step = turn.step;
  std::uint8_t* hint = freePlace(step.length);
  // Asked for a place only, the kernel would shift it until huge pages fit a file offset that is no multiple of theirs.
  const int flags = turn.fileAt() % kHuge == 0 ? step.flags : step.flags | MAP_FIXED_NOREPLACE;
  const std::int64_t before = now();
  void* mapped = mmap(hint, step.length, PROT_READ | PROT_WRITE, flags, step.fd->get(), static_cast<off_t>(turn.fileAt()));
  const std::int64_t after = now();
  turn.own.begin = static_cast<std::uint8_t*>(check(mapped, "mmap"));
  turn.own.length = step.length;
  return after - before;
}

std::int64_t unmap(Turn& turn) {
  const std::int64_t spent = timedCall("munmap", [&] { return munmap(turn.own.begin, turn.own.length); });
  turn.own.begin = nullptr;
  return spent;
}

std::int64_t move(Turn& turn) {
  std::uint8_t* to = freePlace(turn.own.length);
  const std::int64_t before = now();
  void* moved = mremap(turn.own.begin, turn.own.length, turn.own.length, MREMAP_MAYMOVE | MREMAP_FIXED, to);
  const std::int64_t after = now();
  turn.own.begin = static_cast<std::uint8_t*>(check(moved, "mremap"));
  return after - before;
}

/** The clone call as the parent sees it; the child exits at once, and is waited for outside. */
std::int64_t forkOnce(Turn&) {
  const std::int64_t before = now();
  const auto child = static_cast<pid_t>(syscall(SYS_clone, 0, 0, 0, 0, 0));
  if (child == 0)
    for (;;) syscall(SYS_exit_group, 0);
  const std::int64_t after = now();
  check(child, "fork");
  awaitChild(child);
  return after - before;
}

/** A call that the kernel may signal a memory failure in; the failure is noted, the call completes. */
template <class Call>
std::int64_t signalledCall(Turn& turn, const char* name, Call call) {
  volatile std::int64_t spent = 0;
  volatile int error = 0;
  volatile std::int64_t* spentAt = &spent;
  volatile int* errorAt = &error;
  turn.fault = guarded(turn.base(), turn.room(), OnFault::Record, [=] {
    const std::int64_t before = now();
    const auto result = call();
    *spentAt = now() - before;
    *errorAt = result == -1 ? errno : 0;
  });
  if (error != 0 && turn.fault.signal == 0) throw SystemFailure{error, name};
  return spent;
}

std::int64_t advise(Turn& turn) {
  return signalledCall(turn, "madvise", [at = turn.at(), length = turn.step.length, advice = turn.step.flags] { return madvise(at, length, advice); });
}
std::int64_t syncMapping(Turn& turn) {
  return timedCall("msync", [&] { return msync(turn.at(), turn.step.length, turn.step.flags); });
}
std::int64_t syncFile(Turn& turn) {
  return timedCall("fsync", [&] { return fsync(turn.step.fd->get()); });
}
std::int64_t allocate(Turn& turn) {
  return timedCall("fallocate", [&] { return fallocate(turn.step.fd->get(), turn.step.flags, static_cast<off_t>(turn.fileAt()), static_cast<off_t>(turn.step.length)); });
}

template <class Call>
std::int64_t transfer(const char* name, std::uint64_t length, Call call) {
  const std::int64_t before = now();
  const ssize_t count = call();
  const std::int64_t after = now();
  if (check(count, name) != static_cast<ssize_t>(length)) throw SystemFailure{EIO, name};
  return after - before;
}
std::int64_t readInto(Turn& turn) {
  return transfer("pread", turn.step.length, [&] { return pread(turn.step.fd->get(), turn.at(), turn.step.length, static_cast<off_t>(turn.fileAt())); });
}
std::int64_t writeFrom(Turn& turn) {
  return transfer("pwrite", turn.step.length, [&] { return pwrite(turn.step.fd->get(), turn.at(), turn.step.length, static_cast<off_t>(turn.fileAt())); });
}

// ----------------------------------------------------------------------------------------------------------------- memory

/** Loads of 8 bytes; the sum keeps them from being left out. */
std::uint64_t loadAll(const std::uint8_t* from, std::size_t length) noexcept {
  std::uint64_t sum = 0;
  const auto* words = reinterpret_cast<const volatile std::uint64_t*>(from);
  for (std::size_t i = 0; i < length / 8; i += 4) sum += words[i] + words[i + 1] + words[i + 2] + words[i + 3];
  return sum;
}

/** Stores past the caches, and waits until they are out of the CPU (x86-64; elsewhere ordinary stores). */
void storePast(std::uint8_t* to, std::size_t length) noexcept {
#if defined(__x86_64__)
  for (std::size_t i = 0; i < length; i += 8) _mm_stream_si64(reinterpret_cast<long long*>(to + i), static_cast<long long>(i));
  _mm_sfence();
#else
  std::memset(to, 1, length);
#endif
}

enum Flush { kClflush, kClflushopt, kClwb };

void flushAll(std::uint8_t* from, std::size_t length, int instruction) noexcept {
#if defined(__x86_64__)
  // By their encoding: the build machine's compiler need not be told of the CPU under test.
  for (std::uint8_t* line = from; line < from + length; line += kLine) {
    auto* at = reinterpret_cast<volatile char*>(line);
    switch (instruction) {
      case kClwb: asm volatile(".byte 0x66; xsaveopt %0" : "+m"(*at)); break;
      case kClflushopt: asm volatile(".byte 0x66; clflush %0" : "+m"(*at)); break;
      default: asm volatile("clflush %0" : "+m"(*at));
    }
  }
  _mm_sfence();
#else
  (void)from, (void)length, (void)instruction;
#endif
}

/** Dependent loads: each says where the next is, over all lines in one cycle that chainUp() made. */
std::uint64_t chase(const std::uint8_t* from, std::size_t length) noexcept {
  std::uint64_t at = 0;
  for (std::size_t i = 0; i < length / kLine; ++i) at = *reinterpret_cast<const volatile std::uint64_t*>(from + at);
  return at;
}

enum class Work { Touch, Load, Store, StorePast, Copy, Flush, Chase, ChainUp };

/** Each line points to another one, so that following them visits all: a random cycle (Sattolo), of the same seed always. */
void chainUp(std::uint8_t* at, std::size_t length) noexcept {
  const std::size_t lines = length / kLine;
  auto next = [at](std::size_t line) { return reinterpret_cast<std::uint64_t*>(at + line * kLine); };
  for (std::size_t i = 0; i < lines; ++i) *next(i) = i * kLine;
  const std::uint64_t start = words::start(1);
  for (std::size_t i = lines - 1; i > 0; --i) std::swap(*next(i), *next(words::at(start, i) % i));
}

void touchAll(std::uint8_t* at, const MeasureStep& step) noexcept {
  const std::size_t stride = step.stride == 0 ? step.length : step.stride;
  for (std::size_t i = 0; i < step.length; i += stride) {
    auto* word = reinterpret_cast<volatile std::uint64_t*>(at + i);
    if (step.access == Access::Read)
      (void)*word;
    else
      *word = i;
  }
}

void workOn(Work work, const MeasureStep& step, std::uint8_t* at, std::size_t length) noexcept {
  volatile std::uint64_t sink = 0;
  switch (work) {
    case Work::Touch: return touchAll(at, step);
    case Work::Load: sink = loadAll(at, length); break;
    case Work::Store: std::memset(at, static_cast<int>(length & 0xff) | 1, length); break;
    case Work::StorePast: return storePast(at, length);
    // Within the memory itself: its first half onto its second.
    case Work::Copy: std::memcpy(at + length / 2, at, length / 2); break;
    case Work::Flush: return flushAll(at, length, step.flags);
    case Work::Chase: sink = chase(at, length); break;
    case Work::ChainUp: return chainUp(at, length);
  }
  (void)sink;
}

/** Memory work of one thread under a guard: the time up to its end, or up to the moment its signal was caught. */
Fault guardedWork(Work work, const Turn& turn, std::uint8_t* at, std::size_t length, std::int64_t* spent) noexcept {
  const MeasureStep& step = turn.step;
  const std::int64_t before = now();
  const Fault fault = guarded(turn.base(), turn.room(), OnFault::Jump, [work, &step, at, length] { workOn(work, step, at, length); });
  *spent = now() - before;
  return fault;
}

struct Gang {
  const Turn* turn;
  Work work;
  std::size_t share;
  std::atomic<unsigned> ready{0};
  std::atomic<bool> go{false};
};

struct Member {
  Gang* gang = nullptr;
  unsigned index = 0;
  pthread_t thread{};
  Fault fault;
  std::int64_t ended = 0;
};

void* memberMain(void* argument) {
  auto* member = static_cast<Member*>(argument);
  Gang& gang = *member->gang;
  unblockFaultSignals();
  gang.ready.fetch_add(1);
  while (!gang.go.load(std::memory_order_acquire)) sched_yield();
  std::int64_t spent = 0;
  member->fault = guardedWork(gang.work, *gang.turn, gang.turn->at() + member->index * gang.share, gang.share, &spent);
  member->ended = now();
  return nullptr;
}

/** From the moment that all threads are let go until the last has ended; each has its own share of the memory. */
std::int64_t inThreads(Work work, Turn& turn) {
  Gang gang{&turn, work, turn.step.length / turn.step.threads / kLine * kLine};
  std::vector<Member> members(turn.step.threads);
  int error = 0;
  std::size_t started = 0;
  for (; started < members.size() && error == 0; ++started) {
    members[started].gang = &gang;
    members[started].index = static_cast<unsigned>(started);
    error = pthread_create(&members[started].thread, nullptr, memberMain, &members[started]);
    if (error != 0) break;
  }
  while (gang.ready.load() < started) sched_yield();
  const std::int64_t before = now();
  gang.go.store(true, std::memory_order_release);
  std::int64_t last = before;
  for (std::size_t i = 0; i < started; ++i) {
    pthread_join(members[i].thread, nullptr);
    last = std::max(last, members[i].ended);
    if (members[i].fault.signal != 0) turn.fault = members[i].fault;
  }
  if (error != 0) throw SystemFailure{error, "pthread_create"};
  return last - before;
}

template <Work work>
std::int64_t memory(Turn& turn) {
  if (turn.step.threads > 1) return inThreads(work, turn);
  std::int64_t spent = 0;
  turn.fault = guardedWork(work, turn, turn.at(), turn.step.length, &spent);
  return spent;
}

}  // namespace

struct MeasureKind {
  const char* name;
  std::int64_t (*execute)(Turn&);
  MeasureNeeds needs;
};

namespace {

using Where = MeasureNeeds::Where;

// name, function, {where, fd, length, flags}
constexpr MeasureKind kKinds[] = {
    {"map", map, {Where::None, true, true, MeasureFlags::Share}},
    {"unmap", unmap, {Where::Own, false, false, MeasureFlags::None}},
    {"move", move, {Where::Own, false, false, MeasureFlags::None}},
    {"fork", forkOnce, {Where::None, false, false, MeasureFlags::None}},
    {"madvise", advise, {Where::Memory, false, true, MeasureFlags::Advice}},
    {"msync", syncMapping, {Where::Memory, false, true, MeasureFlags::Sync}},
    {"fsync", syncFile, {Where::None, true, false, MeasureFlags::None}},
    {"fallocate", allocate, {Where::None, true, true, MeasureFlags::Allocate}},
    {"pread", readInto, {Where::Memory, true, true, MeasureFlags::None}},
    {"pwrite", writeFrom, {Where::Memory, true, true, MeasureFlags::None}},
    {"touch", memory<Work::Touch>, {Where::Memory, false, true, MeasureFlags::None}},
    {"load", memory<Work::Load>, {Where::Memory, false, true, MeasureFlags::None}},
    {"store", memory<Work::Store>, {Where::Memory, false, true, MeasureFlags::None}},
    {"store-past", memory<Work::StorePast>, {Where::Memory, false, true, MeasureFlags::None}},
    {"copy", memory<Work::Copy>, {Where::Memory, false, true, MeasureFlags::None}},
    {"flush", memory<Work::Flush>, {Where::Memory, false, true, MeasureFlags::Flush}},
    {"chase", memory<Work::Chase>, {Where::Memory, false, true, MeasureFlags::None}},
    {"chain", memory<Work::ChainUp>, {Where::Memory, false, true, MeasureFlags::None}},
};

constexpr Name kFlushes[] = {{"clflush", kClflush}, {"clflushopt", kClflushopt}, {"clwb", kClwb}};

void runStep(Turn& turn, MeasureStepResult& result, std::uint64_t round) {
  rusage before{};
  rusage after{};
  getrusage(RUSAGE_THREAD, &before);
  const std::int64_t spent = turn.step.kind->execute(turn);
  getrusage(RUSAGE_THREAD, &after);
  result.runs += 1;
  result.minorFaults += after.ru_minflt - before.ru_minflt;
  result.majorFaults += after.ru_majflt - before.ru_majflt;
  if (turn.fault.signal != 0) result.signals += 1;
  if (result.samples != nullptr) result.samples[round] = static_cast<double>(spent);
}

}  // namespace

const MeasureKind& measureKind(std::string_view name) {
  for (const MeasureKind& kind : kKinds)
    if (name == kind.name) return kind;
  std::string message = "op is none of:";
  for (const MeasureKind& kind : kKinds) (message += ' ') += kind.name;
  throw BadArgument{BadArgument::Kind::Range, message};
}
MeasureNeeds needsOf(const MeasureKind& kind) { return kind.needs; }

int flushOf(std::string_view name) { return static_cast<int>(valueOf(kFlushes, name, "instruction")); }

bool hasFlush(int instruction) noexcept {
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (instruction == kClflush) return __get_cpuid(1, &a, &b, &c, &d) != 0 && (d & (1u << 19)) != 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  return (b & (1u << (instruction == kClwb ? 24 : 23))) != 0;
#else
  (void)instruction;
  return false;
#endif
}

MeasureResult measure(const MeasurePlan& plan, const std::vector<double*>& samples) {
  MeasureResult result;
  result.steps.resize(plan.steps.size());
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    result.steps[i].samples = samples[i];
    // Written now, so that the array's own page faults are not counted.
    if (samples[i] != nullptr) std::fill_n(samples[i], plan.rounds, 0.0);
  }
  Own own;
  for (std::uint64_t round = 0; round < plan.rounds; ++round) {
    for (std::size_t i = 0; i < plan.steps.size(); ++i) {
      const MeasureStep& step = plan.steps[i];
      Turn turn{step, own, step.advance * round, {}};
      runStep(turn, result.steps[i], round);
      if (turn.fault.signal == 0) continue;
      result.fault = turn.fault;
      result.base = reinterpret_cast<std::uintptr_t>(turn.base());
      if (!step.mayFault) return result;
    }
    result.rounds += 1;
  }
  return result;
}

}  // namespace daxrig

#include "race.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>

#include "access.h"
#include "errors.h"
#include "guard.h"
#include "pattern.h"

namespace daxrig {
namespace {

constexpr int kConductorPriority = 90;
constexpr int kHighPriority = 20;
constexpr int kLowPriority = 10;
constexpr std::int64_t kBreathEveryNs = 20'000'000;
constexpr std::int64_t kBreathNs = 1'000'000;
constexpr std::size_t kPage = 4096;
constexpr std::size_t kStack = std::size_t{1} << 19;
// A word is said to belong to a pattern only if its place is one that a file could have.
constexpr std::uint64_t kFarthest = std::uint64_t{1} << 44;

std::uint64_t nextRandom(std::uint64_t& state) noexcept { return words::mix(state += words::kStep); }

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

struct Race;

struct Actor {
  Race* race = nullptr;
  std::size_t index = 0;
  const RaceActor* plan = nullptr;
  RaceActorResult result;
  std::uint64_t random = 0;
  std::unique_ptr<std::uint8_t, Free> buffer;  // page-aligned, as O_DIRECT wants it; as long as the longest step needs
  std::vector<std::array<std::array<std::uint64_t, kMaxSteps + 1>, kMaxActors>> pairs;  // [own step][other actor][its step]
  std::uint64_t collisions = 0;
  std::size_t stale = 0;  // operations in a row that met only what the same step had met before
  pthread_t thread{};
  std::atomic<pid_t> tid{0};  // while it runs

  void mix(std::uint64_t value) noexcept { result.digest = words::mix(result.digest ^ value) + words::kStep; }
};

/** One execution of a step. */
struct Turn {
  Actor& actor;
  const RaceStep& step;
  RaceStepResult& result;
  std::uint64_t round;
  std::size_t place;        // index of stamps: the place in the mapping or, without one, in the file
  std::uint64_t inMapping;  // offsets
  std::uint64_t inFile;
  bool failed = false;  // a call was refused, or a signal came

  std::uint8_t* at() const { return step.region->begin() + inMapping; }
  Span span(std::uint64_t length) const { return {step.region->begin(), step.region->length(), at(), static_cast<std::size_t>(length)}; }
  std::uint64_t start() const { return words::start(step.value); }

  void fault(const Fault& fault) noexcept {
    failed = true;
    result.signals.add(fault.signal * 256 + fault.code);
    actor.mix(static_cast<std::uint64_t>(fault.signal) << 16 | static_cast<std::uint64_t>(fault.code) << 8 | static_cast<std::uint64_t>(fault.lsb));
    if (!step.region) return;
    const auto begin = reinterpret_cast<std::uintptr_t>(step.region->begin());
    if (fault.address - begin < step.region->length()) actor.mix(fault.address - begin);
  }
  void ended(const Fault& met, std::uint64_t seen) noexcept {
    if (met.signal != 0) return fault(met);
    actor.mix(seen);
  }
  void wrong(std::uint64_t offset, std::uint64_t expected, std::uint64_t actual) noexcept;
};

/** Lets actors meet, and leave for good. */
class Gate {
 public:
  void add() { ++members_; }
  /** Waits for all that have not left; not at all once the race is to end. */
  void meet(const std::atomic<bool>& stop) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (stop.load()) return;
    if (++arrived_ >= members_) return open();
    const std::uint64_t here = generation_;
    moved_.wait(lock, [&] { return generation_ != here || stop.load(); });
  }
  void leave() {
    const std::lock_guard<std::mutex> lock(mutex_);
    --members_;
    if (arrived_ >= members_) open();
  }
  void wake() {
    const std::lock_guard<std::mutex> lock(mutex_);
    moved_.notify_all();
  }

 private:
  void open() {
    arrived_ = 0;
    ++generation_;
    moved_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable moved_;
  std::size_t members_ = 0;
  std::size_t arrived_ = 0;
  std::uint64_t generation_ = 0;
};

/** One page's physical address, left by whoever located it, taken by whoever waits for one. */
class Located {
 public:
  void leave(std::uint64_t address) {
    const std::lock_guard<std::mutex> lock(mutex_);
    address_ = last_ = address;
    left_.notify_all();
  }
  /** Waits until there is one; not at all once the race is to end. */
  void await(const std::atomic<bool>& stop) {
    std::unique_lock<std::mutex> lock(mutex_);
    left_.wait(lock, [&] { return address_ != 0 || stop.load(); });
  }
  /** 0: there is none. */
  std::uint64_t take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(address_, 0);
  }
  /** The same, taken or not. */
  std::uint64_t last() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return last_;
  }
  void wake() {
    const std::lock_guard<std::mutex> lock(mutex_);
    left_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable left_;
  std::uint64_t address_ = 0;
  std::uint64_t last_ = 0;
};

struct Race {
  const RacePlan& plan;
  std::vector<Actor> actors;
  std::vector<std::uint64_t> seeds;  // of the patterns in it

  // 16 bits for each actor: group << 8 | step + 1 while inside an operation. One word, so that of two actors that enter
  // exactly one, the later, sees the other: a collision is counted once, and only if the two really overlap.
  std::atomic<std::uint64_t> inside{0};
  // Of each actor's operation that is going on: the steps of others that ran into it, one bit each.
  std::array<std::atomic<std::uint64_t>, kMaxActors> met{};
  std::atomic<std::uint64_t> claimed{0};
  std::atomic<bool> stop{false};
  std::atomic<std::size_t> bounded{0};  // actors with rounds that still run
  Gate meeting;
  Located located;
  int pagemap = -1;  // of this process, where a step locates pages

  // Start and end.
  std::mutex mutex;
  std::condition_variable changed;
  bool go = false;
  std::size_t running = 0;
  std::atomic<std::size_t> alive{0};

  pthread_t conductor{};
  std::uint64_t switches = 0;
  bool limited = false;
  bool fifo = false;
  std::int64_t startNs = 0;
  std::int64_t endNs = 0;

  explicit Race(const RacePlan& from) : plan(from), actors(from.actors.size()) {}
  ~Race() {
    if (pagemap >= 0) close(pagemap);
  }
  Race(const Race&) = delete;
  Race& operator=(const Race&) = delete;

  void end() noexcept {
    stop.store(true);
    meeting.wake();
    located.wake();
  }
};

void Turn::wrong(std::uint64_t offset, std::uint64_t expected, std::uint64_t actual) noexcept {
  if (result.wrong++ > 0) return;
  RaceWrong& first = result.first;
  first = {round, offset, expected, actual, false, 0, 0};
  for (const std::uint64_t seed : actor.race->seeds) {
    const std::uint64_t at = words::indexOf(words::start(seed), actual) * 8;
    if (at >= kFarthest) continue;
    first.known = true;
    first.seed = seed;
    first.belongsAt = at;
    return;
  }
}

// ------------------------------------------------------------------------------------------------------------- operations

/** An access of one aligned word, `body(word, out)`, under the guard; what it leaves in *out goes into the digest. */
template <class Body>
void access(Turn& turn, Body body) noexcept {
  volatile std::uint64_t seen = 0;
  volatile std::uint64_t* const out = &seen;
  auto* const word = reinterpret_cast<volatile std::uint64_t*>(turn.at());
  const Span span = turn.span(8);
  const Fault met = guarded(span.guardBegin, span.guardLength, OnFault::Jump, [=] { body(word, out); });
  turn.ended(met, seen);
}

void load(Turn& turn) noexcept {
  access(turn, [](volatile std::uint64_t* word, volatile std::uint64_t* out) { *out = *word; });
}
void store(Turn& turn) noexcept {
  const std::uint64_t value = turn.step.value;
  access(turn, [value](volatile std::uint64_t* word, volatile std::uint64_t*) { *word = value; });
}
void rmw(Turn& turn) noexcept {
  // The value is 0 unless given, but no constant: a compiler may turn an atomic addition of 0 into a load.
  access(turn, [value = turn.step.value](volatile std::uint64_t* word, volatile std::uint64_t* out) { *out = __atomic_fetch_add(word, value, __ATOMIC_SEQ_CST); });
}
/** A load and a store with nothing to keep others out: the lost update of the textbook. */
void increment(Turn& turn) noexcept {
  access(turn, [](volatile std::uint64_t* word, volatile std::uint64_t* out) {
    const std::uint64_t was = *word;
    *out = was;
    *word = was + 1;
  });
}
void lockedIncrement(Turn& turn) noexcept {
  access(turn, [](volatile std::uint64_t* word, volatile std::uint64_t* out) { *out = __atomic_fetch_add(word, 1, __ATOMIC_SEQ_CST); });
}

/** Says who stored it and when, so that a stray one can be traced: actor, step, round; never 0. */
std::uint64_t stampOf(const Turn& turn) noexcept {
  const auto step = static_cast<std::uint64_t>(&turn.step - turn.actor.plan->steps.data());
  return (turn.actor.index + 1) << 56 | step << 48 | ((turn.round + 1) & ((std::uint64_t{1} << 48) - 1));
}

void compareStamp(Turn& turn, std::uint64_t offset, std::uint64_t found) noexcept {
  const std::uint64_t last = turn.result.last[turn.place];
  if (found == last) return;
  if (found == 0 && turn.step.zeroAllowed)
    ++turn.result.zeros;
  else
    turn.wrong(offset, last, found);
}

/** Expects the word that this step stored here last, and stores the next. No other step may write it. */
void stamp(Turn& turn) noexcept {
  volatile std::uint64_t seen = 0;
  volatile bool stored = false;
  volatile std::uint64_t* const out = &seen;
  volatile bool* const storedAt = &stored;
  auto* const word = reinterpret_cast<volatile std::uint64_t*>(turn.at());
  const std::uint64_t next = stampOf(turn);
  const Span span = turn.span(8);
  const Fault met = guarded(span.guardBegin, span.guardLength, OnFault::Jump, [=] {
    *out = *word;
    *word = next;
    *storedAt = true;
  });
  if (stored) {
    compareStamp(turn, turn.inMapping, seen);
    turn.result.last[turn.place] = next;
  }
  turn.ended(met, seen);
}

void refused(Turn& turn, int error) noexcept {
  turn.failed = true;
  turn.result.errors.add(error);
  turn.actor.mix(static_cast<std::uint64_t>(error) << 32);
}

/**
 * A system call. Its guard covers all addresses: a memory failure is signalled to the thread that injected it at any place
 * where the process has the page mapped, not only at the one it was injected by.
 */
template <class Call>
long systemCall(Turn& turn, Call call) noexcept {
  volatile long result = -1;
  volatile int error = 0;
  volatile long* const resultAt = &result;
  volatile int* const errorAt = &error;
  const Fault met = guarded(nullptr, ~std::uintptr_t{0}, OnFault::Record, [=] {
    const long got = static_cast<long>(call());
    *resultAt = got;
    *errorAt = got == -1 ? errno : 0;
  });
  if (met.signal != 0) turn.fault(met);
  if (result == -1)
    refused(turn, error);
  else
    turn.actor.mix(static_cast<std::uint64_t>(result));
  return result;
}

/** The same for transfers: their bytes are counted. */
template <class Call>
std::size_t transfer(Turn& turn, Call call) noexcept {
  const long count = systemCall(turn, call);
  if (count <= 0) return 0;
  turn.result.bytes += static_cast<std::uint64_t>(count);
  return static_cast<std::size_t>(count);
}

/** Words in the actor's buffer against the pattern; `offset` is where the first is from. */
void compareWords(Turn& turn, std::size_t length, std::uint64_t offset) noexcept {
  const auto* words = reinterpret_cast<const std::uint64_t*>(turn.actor.buffer.get());
  const std::uint64_t start = turn.start();
  const std::uint64_t first = (turn.step.base + offset) / 8;
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < length / 8; ++i) {
    const std::uint64_t expected = words::at(start, first + i);
    sum = (sum << 1 | sum >> 63) ^ words[i];
    if (words[i] == expected) continue;
    if (words[i] == 0 && turn.step.zeroAllowed)
      ++turn.result.zeros;
    else
      turn.wrong(offset + i * 8, expected, words[i]);
  }
  turn.actor.mix(sum);
}

Pattern patternAt(const Turn& turn, std::uint64_t offset) noexcept {
  return {Pattern::Kind::Words, 0, turn.step.value, turn.step.base + offset};
}

void fillMapping(Turn& turn) noexcept {
  const Progress progress = fill(turn.span(turn.step.length), patternAt(turn, turn.inMapping));
  turn.result.bytes += progress.done;
  turn.ended(progress.fault, progress.done);
}

void checkMapping(Turn& turn) noexcept {
  const Progress progress = readOut(turn.span(turn.step.length), turn.actor.buffer.get());
  turn.result.bytes += progress.done;
  compareWords(turn, progress.done, turn.inMapping);
  turn.ended(progress.fault, progress.done);
}

void advise(Turn& turn) noexcept {
  systemCall(turn, [at = turn.at(), length = turn.step.length, advice = turn.step.flags] { return madvise(at, length, advice); });
}
void sync(Turn& turn) noexcept {
  systemCall(turn, [at = turn.at(), length = turn.step.length, flags = turn.step.flags] { return msync(at, length, flags); });
}

long mapPart(std::uint8_t* at, std::size_t length, int fd, std::uint64_t from) noexcept {
  return mmap(at, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, static_cast<off_t>(from)) == MAP_FAILED ? -1 : 0;
}
/** An inaccessible reservation takes the place, as in Region::unmap. */
long unmapPart(std::uint8_t* at, std::size_t length) noexcept {
  return mmap(at, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED ? -1 : 0;
}

void map(Turn& turn) noexcept {
  systemCall(turn, [at = turn.at(), length = turn.step.length, fd = turn.step.fd->get(), from = turn.inFile] { return mapPart(at, length, fd, from); });
}
void unmap(Turn& turn) noexcept {
  systemCall(turn, [at = turn.at(), length = turn.step.length] { return unmapPart(at, length); });
}

void readInto(Turn& turn) noexcept {
  transfer(turn, [to = turn.at(), length = turn.step.length, fd = turn.step.fd->get(), from = turn.inFile] { return pread(fd, to, length, static_cast<off_t>(from)); });
}
void writeFrom(Turn& turn) noexcept {
  transfer(turn, [from = turn.at(), length = turn.step.length, fd = turn.step.fd->get(), to = turn.inFile] { return pwrite(fd, from, length, static_cast<off_t>(to)); });
}

void fillFile(Turn& turn) noexcept {
  volatile std::size_t done = 0;
  std::uint8_t* const buffer = turn.actor.buffer.get();
  fillPlain(buffer, turn.step.length, patternAt(turn, turn.inFile), &done);
  transfer(turn, [buffer, length = turn.step.length, fd = turn.step.fd->get(), to = turn.inFile] { return pwrite(fd, buffer, length, static_cast<off_t>(to)); });
}
void checkFile(Turn& turn) noexcept {
  std::uint8_t* const buffer = turn.actor.buffer.get();
  const std::size_t count = transfer(turn, [buffer, length = turn.step.length, fd = turn.step.fd->get(), from = turn.inFile] { return pread(fd, buffer, length, static_cast<off_t>(from)); });
  compareWords(turn, count / 8 * 8, turn.inFile);
}

/** The same as stamp, by read(2) and write(2). */
void stampFile(Turn& turn) noexcept {
  const int fd = turn.step.fd->get();
  const auto at = static_cast<off_t>(turn.inFile);
  auto* const word = reinterpret_cast<std::uint64_t*>(turn.actor.buffer.get());
  if (transfer(turn, [=] { return pread(fd, word, 8, at); }) == 8) compareStamp(turn, turn.inFile, *word);
  const std::uint64_t next = *word = stampOf(turn);
  if (transfer(turn, [=] { return pwrite(fd, word, 8, at); }) == 8) turn.result.last[turn.place] = next;
}

void allocate(Turn& turn) noexcept {
  systemCall(turn, [fd = turn.step.fd->get(), mode = turn.step.flags, at = turn.inFile, length = turn.step.length] {
    return fallocate(fd, mode, static_cast<off_t>(at), static_cast<off_t>(length));
  });
}
void truncateFile(Turn& turn) noexcept {
  systemCall(turn, [fd = turn.step.fd->get(), length = turn.inFile] { return ftruncate(fd, static_cast<off_t>(length)); });
}
void syncFile(Turn& turn) noexcept {
  systemCall(turn, [fd = turn.step.fd->get()] { return fsync(fd); });
}

void pokeNumber(Turn& turn, std::uint64_t number) noexcept {
  char text[24];
  const auto length = static_cast<std::size_t>(std::snprintf(text, sizeof text, "%llu", static_cast<unsigned long long>(number)));
  systemCall(turn, [fd = turn.step.fd->get(), from = static_cast<const char*>(text), length] { return pwrite(fd, from, length, 0); });
}
/** Writes the place, which is a number here, as text: for files of /proc and /sys that take one. */
void poke(Turn& turn) noexcept { pokeNumber(turn, turn.inFile); }

void awaitLocated(Turn& turn) noexcept { turn.actor.race->located.await(turn.actor.race->stop); }
void pokeAddress(Turn& turn, std::uint64_t address) noexcept {
  if (address == 0)
    turn.failed = true;
  else
    pokeNumber(turn, address);
}
/** The same with the physical address of the page that somebody located, each once; left out when there is none. */
void pokeLocated(Turn& turn) noexcept { pokeAddress(turn, turn.actor.race->located.take()); }
/** That one again, and again, whatever has become of its owner. */
void pokeLast(Turn& turn) noexcept { pokeAddress(turn, turn.actor.race->located.last()); }

/** Tells the others where in memory the page is that this actor has mapped here, if one is. */
void locate(Turn& turn) noexcept {
  Race& race = *turn.actor.race;
  std::uint64_t entry = 0;
  const auto page = reinterpret_cast<std::uintptr_t>(turn.at()) / kPage;
  if (race.pagemap < 0 || pread(race.pagemap, &entry, sizeof entry, static_cast<off_t>(page * sizeof entry)) != sizeof entry) return;
  const std::uint64_t frame = entry & ((std::uint64_t{1} << 55) - 1);
  if (entry >> 63 != 0 && frame != 0) race.located.leave(frame * kPage);
}

/** Opens, maps, touches, unmaps and closes: while nobody visits, the inode can be evicted. */
void visit(Turn& turn) noexcept {
  const int fd = open(turn.step.path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd == -1) return refused(turn, errno);
  const long mapped = mapPart(turn.at(), turn.step.length, fd, turn.inFile);
  const int error = errno;
  close(fd);
  if (mapped == -1) return refused(turn, error);
  store(turn);
  if (!turn.failed) locate(turn);
  unmapPart(turn.at(), turn.step.length);
}

/** A new file, or the one that is there, with space for `length` bytes from the place on. */
void create(Turn& turn) noexcept {
  const int fd = open(turn.step.path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd == -1) return refused(turn, errno);
  systemCall(turn, [fd, at = turn.inFile, length = turn.step.length] {
    return length == 0 ? 0 : fallocate(fd, 0, static_cast<off_t>(at), static_cast<off_t>(length));
  });
  close(fd);
}
void removeFile(Turn& turn) noexcept {
  systemCall(turn, [path = turn.step.path.c_str()] { return unlink(path); });
}

void mountThere(Turn& turn) noexcept {
  const RaceMount& what = turn.step.mount;
  systemCall(turn, [&what, path = turn.step.path.c_str()] { return mount(what.source.c_str(), path, what.type.c_str(), 0, what.data.c_str()); });
}
void unmountThere(Turn& turn) noexcept {
  systemCall(turn, [path = turn.step.path.c_str()] { return umount2(path, 0); });
}

/** Leaves the CPU for `length` ns: kernel threads that a call waits for run below the actors of a steered race. */
void nap(Turn& turn) noexcept {
  const timespec time{static_cast<time_t>(turn.step.length / 1'000'000'000), static_cast<long>(turn.step.length % 1'000'000'000)};
  clock_nanosleep(CLOCK_MONOTONIC, 0, &time, nullptr);
}

void meet(Turn& turn) noexcept {
  turn.actor.race->meeting.meet(turn.actor.race->stop);
}

}  // namespace

// Quiet ones are no operations on memory or files: being inside one is no collision.
struct RaceKind {
  const char* name;
  void (*execute)(Turn&) noexcept;
  RaceNeeds needs;
  bool stamps = false;
  bool quiet = false;
  bool locates = false;  // looks up page frames
};

namespace {

// name, function, {mapping, fd, path, length, words, flags}, stamps, quiet, locates
constexpr RaceKind kKinds[] = {
    {"load", load, {true, false, false, false, false}},
    {"store", store, {true, false, false, false, false}},
    {"rmw", rmw, {true, false, false, false, false}},
    {"increment", increment, {true, false, false, false, false}},
    {"locked-increment", lockedIncrement, {true, false, false, false, false}},
    {"stamp", stamp, {true, false, false, false, false}, true},
    {"fill", fillMapping, {true, false, false, true, true}},
    {"check", checkMapping, {true, false, false, true, true}},
    {"madvise", advise, {true, false, false, true, false, RaceFlags::Advice}},
    {"msync", sync, {true, false, false, true, false, RaceFlags::Sync}},
    {"map", map, {true, true, false, true, false}},
    {"unmap", unmap, {true, false, false, true, false}},
    {"pread", readInto, {true, true, false, true, false}},
    {"pwrite", writeFrom, {true, true, false, true, false}},
    {"file-fill", fillFile, {false, true, false, true, true}},
    {"file-check", checkFile, {false, true, false, true, true}},
    {"file-stamp", stampFile, {false, true, false, false, false}, true},
    {"fallocate", allocate, {false, true, false, true, false, RaceFlags::Allocate}},
    {"truncate", truncateFile, {false, true, false, false, false}},
    {"fsync", syncFile, {false, true, false, false, false}},
    {"poke", poke, {false, true, false, false, false}},
    {"locate", locate, {true, false, false, false, false}, false, true, true},
    {"await-located", awaitLocated, {false, false, false, false, false}, false, true},
    {"poke-located", pokeLocated, {false, true, false, false, false}},
    {"poke-last", pokeLast, {false, true, false, false, false}},
    {"visit", visit, {true, false, true, true, false}, false, false, true},
    {"create", create, {false, false, true, false, false}},
    {"unlink", removeFile, {false, false, true, false, false}},
    {"mount", mountThere, {false, false, true, false, false}},
    {"umount", unmountThere, {false, false, true, false, false}},
    {"nap", nap, {false, false, false, true, false}, false, true},
    {"meet", meet, {false, false, false, false, false}, false, true},
};

// ----------------------------------------------------------------------------------------------------------------- actors

std::uint64_t insideOf(const Actor& actor, std::size_t stepIndex, const RaceStep& step) noexcept {
  return (std::uint64_t{step.group} << 8 | (stepIndex + 1)) << (16 * actor.index);
}

/** Which of all actors' steps this is, as a bit; two that share one are counted as one. */
std::uint64_t bitOf(const Actor& actor, std::size_t stepIndex) noexcept {
  std::size_t before = 0;
  for (std::size_t i = 0; i < actor.index; ++i) before += actor.race->plan.actors[i].steps.size();
  return std::uint64_t{1} << ((before + stepIndex) % 64);
}

/**
 * Counts the operations of others that are going on. Claimed is each pair of such an operation and a step that began
 * meanwhile only once: one that was preempted in its middle may have the same step run past it a thousand times, which are
 * not as many different collisions.
 */
void enter(Actor& actor, std::size_t stepIndex, const RaceStep& step) noexcept {
  Race& race = *actor.race;
  race.met[actor.index].store(0);
  const std::uint64_t before = race.inside.fetch_or(insideOf(actor, stepIndex, step));
  const std::uint64_t bit = bitOf(actor, stepIndex);
  std::uint64_t claims = 0;
  bool company = false;
  for (std::size_t other = 0; other < race.actors.size(); ++other) {
    const std::uint64_t there = before >> (16 * other) & 0xffff;
    const std::uint64_t itsStep = there & 0xff;
    if (itsStep == 0 || other == actor.index) continue;
    company = true;
    ++actor.collisions;
    ++actor.pairs[stepIndex][other][itsStep];
    const std::uint64_t group = there >> 8 & 0xf;
    if (group == 0 || step.group == 0 || group == step.group) continue;
    // It may be gone by now: then its next operation starts as one that was met, and a collision is not counted.
    if ((race.met[other].fetch_or(bit) & bit) == 0) ++claims;
  }
  actor.stale = claims == 0 && company ? actor.stale + 1 : 0;
  if (claims == 0) return;
  const std::uint64_t claimed = race.claimed.fetch_add(claims) + claims;
  if (race.plan.collisions != 0 && claimed >= race.plan.collisions) race.end();
}

void leave(Actor& actor) noexcept { actor.race->inside.fetch_and(~(std::uint64_t{0xffff} << (16 * actor.index))); }

/**
 * By the bare system call: pthread_setschedparam(3) takes a lock of the thread in question, and the conductor would wait for
 * an actor that was stopped while it held it.
 */
void setPriority(const Actor& actor, int priority) noexcept {
  const pid_t tid = actor.tid.load();
  if (tid == 0) return;
  sched_param parameter{};
  parameter.sched_priority = priority;
  sched_setscheduler(tid, priority > 0 ? SCHED_FIFO : SCHED_OTHER, &parameter);
}

/**
 * In a steered race, who has run all of its steps past the others' operations twice and met nothing new lets them go on: the
 * conductor's timer can be late by much, above all on an emulated CPU, and an actor would fill the time with repetitions.
 */
void stepAside(Actor& actor) noexcept {
  if (!actor.race->fifo || actor.stale < 2 * actor.plan->steps.size()) return;
  actor.stale = 0;
  setPriority(actor, kLowPriority);
  sched_yield();
}

std::uint64_t placeOf(const RacePlaces& places, std::uint64_t k, std::uint64_t drawn) noexcept {
  return places.drawn ? drawn % places.count : (places.a * k + places.b) % places.count;
}

void play(Actor& actor, std::uint64_t round) noexcept {
  const std::vector<RaceStep>& steps = actor.plan->steps;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const RaceStep& step = steps[i];
    if (round % step.every != step.phase) continue;
    if (actor.race->stop.load(std::memory_order_relaxed)) return;
    const std::uint64_t k = round / step.every;
    // One draw for both: with equally many places, those of the mapping and of the file belong together.
    const std::uint64_t drawn = step.inMapping.drawn || step.inFile.drawn ? nextRandom(actor.random) >> 11 : 0;
    const std::uint64_t mapPlace = placeOf(step.inMapping, k, drawn);
    const std::uint64_t filePlace = placeOf(step.inFile, k, drawn);
    Turn turn{actor, step, actor.result.steps[i], round, static_cast<std::size_t>(step.region ? mapPlace : filePlace),
              step.inMapping.base + step.inMapping.unit * mapPlace, step.inFile.base + step.inFile.unit * filePlace};
    ++turn.result.runs;
    if (!step.kind->quiet) enter(actor, i, step);
    step.kind->execute(turn);
    if (!step.kind->quiet) leave(actor);
    if (!turn.failed) ++turn.result.done;
  }
}

/** Waits for the start; false if there is none. */
bool started(Race& race) {
  std::unique_lock<std::mutex> lock(race.mutex);
  race.changed.wait(lock, [&] { return race.go; });
  return !race.stop.load();
}

void* actorMain(void* context) {
  Actor& actor = *static_cast<Actor*>(context);
  Race& race = *actor.race;
  actor.tid.store(static_cast<pid_t>(syscall(SYS_gettid)));
  unblockFaultSignals();
  const bool bounded = actor.plan->rounds != 0;
  if (started(race)) {
    for (std::uint64_t round = 0; !race.stop.load() && (!bounded || round < actor.plan->rounds); ++round) {
      play(actor, round);
      stepAside(actor);
      actor.result.rounds = round + 1;
    }
  }
  actor.tid.store(0);
  race.meeting.leave();
  if (bounded && race.bounded.fetch_sub(1) == 1) race.end();
  const std::lock_guard<std::mutex> lock(race.mutex);
  race.alive.fetch_sub(1);
  race.endNs = std::max(race.endNs, nanoseconds(CLOCK_MONOTONIC));
  race.changed.notify_all();
  return nullptr;
}

// -------------------------------------------------------------------------------------------------------------- conductor

void sleepNs(std::int64_t ns) noexcept {
  const timespec time{static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
  clock_nanosleep(CLOCK_MONOTONIC, 0, &time, nullptr);
}


/**
 * Real-time threads that never sleep would keep the kernel's own ones off the CPU, and some call of theirs may spin until one
 * of those has run: every now and then all are equals for a moment.
 */
void breathe(Race& race, std::size_t top) noexcept {
  for (const Actor& actor : race.actors) setPriority(actor, 0);
  sleepNs(kBreathNs);
  for (const Actor& actor : race.actors) setPriority(actor, actor.index == top ? kHighPriority : kLowPriority);
}

void steer(Race& race) noexcept {
  std::uint64_t random = words::start(race.plan.seed);
  const auto spread = static_cast<std::uint64_t>(race.plan.maxNs - race.plan.minNs + 1);
  std::size_t top = 0;
  std::int64_t breath = race.startNs;
  while (race.alive.load() > 0 && !race.stop.load()) {
    sleepNs(race.plan.minNs + static_cast<std::int64_t>((nextRandom(random) >> 11) % spread));
    const std::int64_t now = nanoseconds(CLOCK_MONOTONIC);
    if (now - race.startNs > race.plan.limitNs) {
      race.limited = !race.stop.load();
      race.end();
    }
    if (now - breath > kBreathEveryNs) {
      breathe(race, top);
      breath = nanoseconds(CLOCK_MONOTONIC);
    }
    if (race.actors.size() < 2 || race.alive.load() == 0) continue;
    const std::size_t chosen = (top + 1 + (nextRandom(random) >> 11) % (race.actors.size() - 1)) % race.actors.size();
    setPriority(race.actors[top], kLowPriority);
    setPriority(race.actors[chosen], kHighPriority);
    top = chosen;
    ++race.switches;
  }
  // Nobody is in a hurry to end.
  for (const Actor& actor : race.actors) setPriority(actor, 0);
}

void watch(Race& race) {
  std::unique_lock<std::mutex> lock(race.mutex);
  const auto ended = [&] { return race.alive.load() == 0; };
  if (race.changed.wait_for(lock, std::chrono::nanoseconds(race.plan.limitNs), ended)) return;
  race.limited = !race.stop.load();
  race.end();
}

void* conductorMain(void* context) {
  Race& race = *static_cast<Race*>(context);
  if (!started(race)) return nullptr;
  if (race.plan.steered && race.fifo)
    steer(race);
  else
    watch(race);
  return nullptr;
}

// ----------------------------------------------------------------------------------------------------------------- staging

/** CPUs that this thread may use. */
std::vector<int> allowedCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  return cpus;
}

struct Role {
  void* (*main)(void*);
  void* context;
  int priority;  // 0: not SCHED_FIFO
  int cpu;       // -1: any
};

/** pthread_create(3), its error as it is. Signals other than faults stay with the threads that know what to do with them. */
int spawn(pthread_t& thread, const Role& role) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStack);
  if (role.cpu >= 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(role.cpu, &set);
    pthread_attr_setaffinity_np(&attributes, sizeof set, &set);
  }
  if (role.priority > 0) {
    sched_param parameter{};
    parameter.sched_priority = role.priority;
    pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED);
    pthread_attr_setschedpolicy(&attributes, SCHED_FIFO);
    pthread_attr_setschedparam(&attributes, &parameter);
  }
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  for (const int number : {SIGBUS, SIGSEGV, SIGILL, SIGFPE, SIGABRT, SIGTRAP}) sigdelset(&all, number);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const int error = pthread_create(&thread, &attributes, role.main, role.context);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  return error;
}

void prepare(Race& race) {
  for (std::size_t i = 0; i < race.actors.size(); ++i) {
    Actor& actor = race.actors[i];
    const RaceActor& plan = race.plan.actors[i];
    actor.race = &race;
    actor.index = i;
    actor.plan = &plan;
    actor.random = words::start(race.plan.seed ^ (i + 1) * words::kMul1);
    actor.result.digest = words::mix(i + 1);
    actor.result.steps.resize(plan.steps.size());
    actor.pairs.resize(plan.steps.size());
    std::uint64_t room = kPage;
    for (std::size_t at = 0; at < plan.steps.size(); ++at) {
      const RaceStep& step = plan.steps[at];
      if (step.kind->needs.words) {
        room = std::max(room, step.length);
        race.seeds.push_back(step.value);
      }
      if (step.kind->locates && race.pagemap < 0) race.pagemap = check(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), "open(/proc/self/pagemap)");
      if (step.kind->stamps) actor.result.steps[at].last.resize(step.region ? step.inMapping.count : step.inFile.count);
    }
    void* memory = nullptr;
    if (posix_memalign(&memory, kPage, (room + kPage - 1) / kPage * kPage) != 0) throw std::bad_alloc();
    actor.buffer.reset(static_cast<std::uint8_t*>(memory));
    race.meeting.add();
    if (plan.rounds != 0) ++race.bounded;
  }
}

/** Starts all threads, or none: those that did start are let go again and joined. */
int startThreads(Race& race, const std::vector<int>& cpus) {
  const bool steered = race.plan.steered;
  const auto cpuOf = [&](std::size_t index) { return cpus.empty() ? -1 : cpus[steered ? 0 : index % cpus.size()]; };
  std::vector<pthread_t> created;
  int error = spawn(race.conductor, {conductorMain, &race, race.fifo ? kConductorPriority : 0, steered ? cpuOf(0) : -1});
  if (error == 0) created.push_back(race.conductor);
  for (std::size_t i = 0; error == 0 && i < race.actors.size(); ++i) {
    error = spawn(race.actors[i].thread, {actorMain, &race.actors[i], race.fifo ? (i == 0 ? kHighPriority : kLowPriority) : 0, cpuOf(i)});
    if (error == 0) created.push_back(race.actors[i].thread);
  }
  race.alive = race.actors.size();
  {
    const std::lock_guard<std::mutex> lock(race.mutex);
    race.stop = error != 0;
    race.startNs = nanoseconds(CLOCK_MONOTONIC);
    race.go = true;
    race.changed.notify_all();
  }
  for (const pthread_t thread : created) pthread_join(thread, nullptr);
  return error;
}

void collect(const Race& race, RaceResult& result) {
  result.digest = words::mix(race.plan.seed);
  for (const Actor& actor : race.actors) {
    result.digest = words::mix(result.digest ^ actor.result.digest ^ actor.result.rounds);
    result.collisions += actor.collisions;
    for (std::size_t step = 0; step < actor.pairs.size(); ++step)
      for (std::size_t other = 0; other < race.actors.size(); ++other)
        for (std::size_t its = 1; its <= kMaxSteps; ++its)
          if (const std::uint64_t count = actor.pairs[step][other][its]) result.pairs.push_back({actor.index, step, other, its - 1, count});
  }
}

}  // namespace

const RaceKind& raceKind(std::string_view name) {
  for (const RaceKind& kind : kKinds)
    if (name == kind.name) return kind;
  std::string message = "op is none of:";
  for (const RaceKind& kind : kKinds) (message += ' ') += kind.name;
  throw BadArgument{BadArgument::Kind::Range, message};
}

RaceNeeds needsOf(const RaceKind& kind) { return kind.needs; }


void Tally::add(int key) noexcept {
  for (std::size_t i = 0; i < used_; ++i) {
    if (entries_[i].key != key) continue;
    ++entries_[i].count;
    return;
  }
  if (used_ < entries_.size())
    entries_[used_++] = {key, 1};
  else
    entries_.back() = {-1, entries_.back().count + 1};
}

RaceResult runRace(const RacePlan& plan) {
  RaceResult result;
  const std::vector<int> cpus = allowedCpus();
  // Without the right to SCHED_FIFO the race runs all the same, and says so.
  for (const bool fifo : {plan.steered, false}) {
    Race race(plan);
    prepare(race);
    race.fifo = fifo;
    const int error = startThreads(race, cpus);
    if (error == EPERM && fifo) {
      result.schedulerError = error;
      continue;
    }
    if (error != 0) throw SystemFailure{error, "pthread_create"};
    collect(race, result);
    for (Actor& actor : race.actors) result.actors.push_back(std::move(actor.result));
    result.claimed = race.claimed;
    result.switches = race.switches;
    result.limited = race.limited;
    result.elapsedNs = race.endNs - race.startNs;
    result.cpus = plan.steered ? 1 : std::min(cpus.size(), plan.actors.size());
    return result;
  }
  throw SystemFailure{EPERM, "pthread_create"};
}

}  // namespace daxrig

// Races: up to four threads, the actors, each repeating a small program of operations on shared files and mappings, and a
// conductor thread that decides who runs. Everything between start and end happens here; no JavaScript is in the loop.
//
// Steered, all share one CPU under SCHED_FIFO: the conductor, above them, sleeps for times drawn from the seed and gives
// another actor the higher priority, so that on a machine that counts instructions the interleaving is a function of the
// seed. Parallel, each actor has a CPU of its own and the hardware interleaves them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fd.h"
#include "region.h"

namespace daxrig {

/** What an operation is and needs; a row of the table in race.cc. */
struct RaceKind;
/** RangeError with the list of names for one that is not in the table. */
const RaceKind& raceKind(std::string_view name);
enum class RaceFlags { None, Advice, Sync, Allocate };
/** What an operation of this kind cannot do without, and whose names its flags are. */
struct RaceNeeds {
  bool mapping, fd, path;
  bool length;
  bool words;  // a pattern: places and lengths are multiples of 8, lengths at most kMaxRaceLength
  RaceFlags flags = RaceFlags::None;
};
RaceNeeds needsOf(const RaceKind& kind);

/** Which of `count` places, `unit` bytes apart, the k-th execution is about: (a * k + b) mod count, or drawn from the seed. */
struct RacePlaces {
  std::uint64_t base = 0;
  std::uint64_t unit = 0;
  std::uint64_t count = 1;
  std::uint64_t a = 0;
  std::uint64_t b = 0;
  bool drawn = false;

  std::uint64_t last() const { return base + unit * (count - 1); }
};

/** What mount(2) is given besides the place. */
struct RaceMount {
  std::string source, type, data;
};

struct RaceStep {
  const RaceKind* kind = nullptr;
  std::uint64_t every = 1;  // executed in rounds where round % every == phase
  std::uint64_t phase = 0;
  /** Collisions between steps of different groups count as claimed; 0: with none. */
  unsigned group = 0;
  std::shared_ptr<Region> region;
  RacePlaces inMapping;
  std::uint64_t length = 0;
  std::shared_ptr<Fd> fd;
  RacePlaces inFile;
  int flags = 0;            // advice, mode of fallocate, MS_*
  std::string path;
  RaceMount mount;
  std::uint64_t value = 0;  // what is stored, or the seed of the pattern
  std::uint64_t base = 0;   // position of the pattern's first byte, counted from the place's offset 0
  bool zeroAllowed = false; // zeros instead of the expected words are right: somebody punches holes here
};

struct RaceActor {
  std::uint64_t rounds = 0;  // 0: as long as an actor with rounds runs
  std::vector<RaceStep> steps;
};

struct RacePlan {
  bool steered = true;
  std::uint64_t seed = 0;
  std::int64_t minNs = 500;  // between two decisions of the conductor
  std::int64_t maxNs = 40'000;
  std::int64_t limitNs = 0;
  std::uint64_t collisions = 0;  // ends the race when so many claimed ones have happened; 0: does not
  std::vector<RaceActor> actors;
};

constexpr std::size_t kMaxActors = 4;
constexpr std::size_t kMaxSteps = 32;
constexpr std::uint64_t kMaxRaceLength = std::uint64_t{1} << 21;  // of what goes through an actor's own buffer
constexpr std::uint64_t kMaxPlaces = std::uint64_t{1} << 20;

/** Counts by key, for the few different keys that turn up; what does not fit any more counts under key -1. */
class Tally {
 public:
  struct Entry {
    int key;
    std::uint64_t count;
  };
  void add(int key) noexcept;
  const Entry* begin() const { return entries_.data(); }
  const Entry* end() const { return entries_.data() + used_; }

 private:
  std::array<Entry, 12> entries_{};
  std::size_t used_ = 0;
};

struct RaceWrong {
  std::uint64_t round = 0;
  std::uint64_t offset = 0;  // of the word, in the mapping or file
  std::uint64_t expected = 0;
  std::uint64_t actual = 0;
  bool known = false;        // the word belongs to a pattern of this race:
  std::uint64_t seed = 0;
  std::uint64_t belongsAt = 0;
};

struct RaceStepResult {
  std::uint64_t runs = 0;
  std::uint64_t done = 0;   // neither refused nor ended by a signal
  std::uint64_t bytes = 0;  // transferred or compared
  std::uint64_t zeros = 0;  // words that were zero, and might
  std::uint64_t wrong = 0;  // words that were not what they should be
  RaceWrong first;
  Tally errors;             // by errno
  Tally signals;            // by signal * 256 + code
  std::vector<std::uint64_t> last;  // of stamps: the last value stored, by place; 0 for none
};

struct RaceActorResult {
  std::uint64_t rounds = 0;
  std::uint64_t digest = 0;
  std::vector<RaceStepResult> steps;
};

/** How often step `a` of actor `byActor` began while step `b` of actor `inActor` was going on. */
struct RacePair {
  std::size_t byActor, byStep, inActor, inStep;
  std::uint64_t count;
};

struct RaceResult {
  std::vector<RaceActorResult> actors;
  std::vector<RacePair> pairs;
  std::uint64_t collisions = 0;  // all pairs
  std::uint64_t claimed = 0;     // operations, each with every different step of another group that began meanwhile
  std::uint64_t switches = 0;    // of the conductor's mind
  std::uint64_t digest = 0;
  std::int64_t elapsedNs = 0;    // CLOCK_MONOTONIC
  bool limited = false;          // ended by the time limit
  int schedulerError = 0;        // why there was no SCHED_FIFO
  std::size_t cpus = 0;          // used
};

/** Runs the race to its end. All its threads are gone when it returns or throws SystemFailure. */
RaceResult runRace(const RacePlan& plan);

}  // namespace daxrig

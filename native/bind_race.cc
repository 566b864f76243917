// The export for races. A program comes as one flat list of arguments, read by a cursor: the same checks as everywhere.
#include <signal.h>

#include "binding.h"
#include "cursor.h"
#include "files.h"
#include "race.h"

namespace daxrig {
namespace {

constexpr std::uint64_t kMaxNs = 1'000'000'000;
constexpr std::uint64_t kMaxLimitMs = 3'600'000;

/** base, unit, count, a (-1: drawn from the seed), b */
RacePlaces readPlaces(Cursor& cursor) {
  RacePlaces places;
  places.base = cursor.size("base");
  places.unit = cursor.size("unit");
  places.count = cursor.size("count", 1, kMaxPlaces);
  const std::int64_t a = cursor.integer("a", -1, static_cast<std::int64_t>(kMaxPlaces));
  places.drawn = a < 0;
  places.a = places.drawn ? 0 : static_cast<std::uint64_t>(a);
  places.b = cursor.size("b", 0, kMaxPlaces);
  std::uint64_t last = 0;
  if (__builtin_mul_overflow(places.unit, places.count - 1, &last) || __builtin_add_overflow(last, places.base, &last) || last > Args::kMaxSafe)
    outOfRange("base + unit * count is too far");
  return places;
}

int readFlags(RaceFlags kind, const std::string& name) {
  switch (kind) {
    case RaceFlags::Advice: return adviceOf(name);
    case RaceFlags::Sync: return syncOf(name);
    case RaceFlags::Allocate: return fallocateMode(name);
    case RaceFlags::None: break;
  }
  return 0;
}

// op, every, phase, group, mapping, 5 of its places, length, fd, 5 of its places, flags, path, mount's source, type, data, value, pattern base, zeros allowed
RaceStep readStep(Cursor& cursor) {
  RaceStep step;
  step.kind = &raceKind(cursor.text("op"));
  const RaceNeeds needs = needsOf(*step.kind);
  step.every = cursor.size("every", 1);
  step.phase = cursor.size("phase", 0, step.every - 1);
  step.group = static_cast<unsigned>(cursor.size("group", 0, 15));
  step.region = cursor.region();
  step.inMapping = readPlaces(cursor);
  step.length = cursor.size("length", 0, needs.words ? kMaxRaceLength : Args::kMaxSafe);
  const std::int64_t fd = cursor.integer("fd", -1, 0x7fffffff);
  step.inFile = readPlaces(cursor);
  step.flags = readFlags(needs.flags, cursor.text("flags"));
  step.path = cursor.text("path");
  step.mount.source = cursor.text("mount.source");
  step.mount.type = cursor.text("mount.type");
  step.mount.data = cursor.text("mount.data");
  step.value = cursor.word("value");
  step.base = cursor.size("pattern base");
  step.zeroAllowed = cursor.boolean("zeroAllowed");

  if (needs.mapping != (step.region != nullptr)) outOfRange(needs.mapping ? "op needs a mapping" : "op takes no mapping");
  if (needs.fd != (fd >= 0)) outOfRange(needs.fd ? "op needs an fd" : "op takes no fd");
  if (needs.path && step.path.empty()) outOfRange("op needs a path");
  if (needs.length && step.length == 0) outOfRange("op needs a length");
  if (fd >= 0) step.fd = std::make_shared<Fd>(Fd::duplicate(static_cast<int>(fd)));
  if (needs.words && (step.length | step.base | step.inFile.base | step.inFile.unit) % 8 != 0)
    outOfRange("places and length of a pattern must be multiples of 8");
  if (step.region) {
    if ((step.inMapping.base | step.inMapping.unit) % 8 != 0) outOfRange("places in a mapping must be multiples of 8");
    const std::uint64_t length = std::max(step.length, std::uint64_t{8});
    step.region->span(step.inMapping.base, length);
    step.region->span(step.inMapping.last(), length);
  }
  return step;
}

std::string signalText(int key) {
  if (key < 0) return "others";
  const int number = key / 256;
  return faultCodeText(number, key % 256);
}

template <class Text>
Napi::Object tallyValue(Napi::Env env, const Tally& tally, Text text) {
  Napi::Object value = Napi::Object::New(env);
  for (const Tally::Entry& entry : tally) value.Set(text(entry.key), numberValue(env, entry.count));
  return value;
}

Napi::Object stepValue(Napi::Env env, const RaceStepResult& step) {
  Napi::Object value = Napi::Object::New(env);
  value.Set("runs", numberValue(env, step.runs));
  value.Set("done", numberValue(env, step.done));
  value.Set("bytes", numberValue(env, step.bytes));
  value.Set("zeros", numberValue(env, step.zeros));
  value.Set("wrong", numberValue(env, step.wrong));
  if (step.wrong > 0) {
    Napi::Object first = Napi::Object::New(env);
    first.Set("round", numberValue(env, step.first.round));
    first.Set("offset", numberValue(env, step.first.offset));
    first.Set("expected", wordValue(env, step.first.expected));
    first.Set("actual", wordValue(env, step.first.actual));
    if (step.first.known) {
      Napi::Object belongs = Napi::Object::New(env);
      belongs.Set("seed", wordValue(env, step.first.seed));
      belongs.Set("position", numberValue(env, step.first.belongsAt));
      first.Set("belongsTo", belongs);
    }
    value.Set("first", first);
  }
  value.Set("errors", tallyValue(env, step.errors, [](int key) { return key < 0 ? std::string("others") : codeText(key); }));
  value.Set("signals", tallyValue(env, step.signals, signalText));
  if (!step.last.empty()) {
    Napi::BigUint64Array last = Napi::BigUint64Array::New(env, step.last.size());
    for (std::size_t i = 0; i < step.last.size(); ++i) last[i] = step.last[i];
    value.Set("last", last);
  }
  return value;
}

template <class Items, class Convert>
Napi::Array listValue(Napi::Env env, const Items& items, Convert convert) {
  Napi::Array array = Napi::Array::New(env, items.size());
  for (std::size_t i = 0; i < items.size(); ++i) array.Set(static_cast<std::uint32_t>(i), convert(items[i]));
  return array;
}

Napi::Object resultValue(Napi::Env env, const RaceResult& result) {
  Napi::Object value = Napi::Object::New(env);
  value.Set("actors", listValue(env, result.actors, [env](const RaceActorResult& actor) {
              Napi::Object object = Napi::Object::New(env);
              object.Set("rounds", numberValue(env, actor.rounds));
              object.Set("digest", wordValue(env, actor.digest));
              object.Set("steps", listValue(env, actor.steps, [env](const RaceStepResult& step) { return stepValue(env, step); }));
              return object;
            }));
  value.Set("pairs", listValue(env, result.pairs, [env](const RacePair& pair) {
              const std::uint64_t numbers[] = {pair.byActor, pair.byStep, pair.inActor, pair.inStep, pair.count};
              Napi::Array array = Napi::Array::New(env, std::size(numbers));
              for (std::uint32_t i = 0; i < std::size(numbers); ++i) array.Set(i, numberValue(env, numbers[i]));
              return array;
            }));
  value.Set("collisions", numberValue(env, result.collisions));
  value.Set("claimed", numberValue(env, result.claimed));
  value.Set("switches", numberValue(env, result.switches));
  value.Set("digest", wordValue(env, result.digest));
  value.Set("elapsedNs", numberValue(env, result.elapsedNs));
  value.Set("limited", Napi::Boolean::New(env, result.limited));
  value.Set("cpus", numberValue(env, result.cpus));
  if (result.schedulerError != 0) value.Set("schedulerError", codeText(result.schedulerError));
  return value;
}

// race(steered, seed, minNs, maxNs, limitMs, collisions, actors, {rounds, steps, {step}...}...)
Job raceCall(Args& args) {
  Cursor cursor(args);
  const auto plan = std::make_shared<RacePlan>();
  plan->steered = cursor.boolean("steered");
  plan->seed = cursor.word("seed");
  plan->minNs = static_cast<std::int64_t>(cursor.size("minNs", 1, kMaxNs));
  plan->maxNs = static_cast<std::int64_t>(cursor.size("maxNs", static_cast<std::uint64_t>(plan->minNs), kMaxNs));
  plan->limitNs = static_cast<std::int64_t>(cursor.size("limitMs", 1, kMaxLimitMs)) * 1'000'000;
  plan->collisions = cursor.size("collisions");
  plan->actors.resize(cursor.size("actors", 1, kMaxActors));
  for (RaceActor& actor : plan->actors) {
    actor.rounds = cursor.size("rounds");
    actor.steps.resize(cursor.size("steps", 1, kMaxSteps));
    for (RaceStep& step : actor.steps) step = readStep(cursor);
  }
  return job([plan] { return runRace(*plan); }, resultValue);
}

}  // namespace

void exportRace(const Exports& exports) { both<raceCall>(exports, "race"); }

}  // namespace daxrig

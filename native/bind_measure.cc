// The export for timed rounds. A program comes as one flat list of arguments, as races do.
#include "binding.h"
#include "cursor.h"
#include "files.h"
#include "measure.h"

namespace daxrig {
namespace {

constexpr std::uint64_t kMaxRounds = std::uint64_t{1} << 24;
constexpr std::uint64_t kMaxOwn = std::uint64_t{1} << 46;
constexpr std::uint64_t kMaxMoved = 0x7ffff000;  // of one pread(2)

int readFlags(MeasureFlags kind, const std::string& name) {
  switch (kind) {
    case MeasureFlags::Share: return shareOf(name);
    case MeasureFlags::Advice: return adviceOf(name);
    case MeasureFlags::Sync: return syncOf(name);
    case MeasureFlags::Allocate: return fallocateMode(name);
    case MeasureFlags::Flush: return flushOf(name);
    case MeasureFlags::None: break;
  }
  return 0;
}

/** How far the last round's place is behind the first's. */
std::uint64_t reachOf(const MeasureStep& step, std::uint64_t rounds) {
  std::uint64_t reach = 0;
  if (__builtin_mul_overflow(step.advance, rounds - 1, &reach) || reach > Args::kMaxSafe) outOfRange("advance * rounds is too far");
  return reach;
}

/** Memory that a step works on in every round must be there, whatever program it is: `own` bytes are mapped before it. */
void checkPlace(const MeasureStep& step, const MeasureNeeds& needs, std::uint64_t rounds, std::uint64_t own) {
  using Where = MeasureNeeds::Where;
  if (needs.where == Where::None) return;
  if (needs.where == Where::Own || !step.region) {
    if (step.region) outOfRange("op takes no mapping: it works on what the step map mapped");
    if (own == 0) outOfRange("op has no memory: give a mapping, or a step map before it");
  }
  if (needs.where == Where::Own) return;
  const std::uint64_t reach = reachOf(step, rounds);
  if (step.region)
    step.region->span(step.at + reach, step.length);
  else if (step.at > own || reach > own - step.at || step.length > own - step.at - reach)
    outOfRange("at + length + advance * rounds is past the end of what the step map maps");
}

// op, timed, mayFault, mapping, at, length, stride, advance, fd, fileAt, flags, access, threads
MeasureStep readStep(Cursor& cursor, std::uint64_t rounds, std::uint64_t& own) {
  MeasureStep step;
  const std::string op = cursor.text("op");
  step.kind = &measureKind(op);
  const MeasureNeeds needs = needsOf(*step.kind);
  step.timed = cursor.boolean("timed");
  step.mayFault = cursor.boolean("mayFault");
  step.region = cursor.region();
  step.at = cursor.size("at");
  step.length = cursor.size("length", needs.length ? 1 : 0, kMaxOwn);
  step.stride = cursor.size("stride");
  step.advance = cursor.size("advance");
  const std::int64_t fd = cursor.integer("fd", -1, 0x7fffffff);
  step.fileAt = cursor.size("fileAt");
  step.flags = readFlags(needs.flags, cursor.text("flags"));
  step.access = cursor.text("access") == "write" ? Access::Write : Access::Read;
  step.threads = static_cast<unsigned>(cursor.size("threads", 1, kMaxMeasureThreads));

  if (needs.fd != (fd >= 0)) outOfRange(needs.fd ? "op needs an fd" : "op takes no fd");
  if (fd >= 0) step.fd = std::make_shared<Fd>(Fd::duplicate(static_cast<int>(fd)));
  if ((step.at | step.stride | step.advance) % 8 != 0) outOfRange("at, stride and advance must be multiples of 8");
  checkPlace(step, needs, rounds, own);
  const bool memory = needs.where == MeasureNeeds::Where::Memory;
  const bool touch = op == "touch";
  const bool call = needs.fd || needs.flags == MeasureFlags::Advice || needs.flags == MeasureFlags::Sync;
  if (memory && !call) {
    // touch stores a word at each stride; the others go by lines, copy from one half to the other.
    const std::uint64_t unit = touch ? 8 : 128 * step.threads;
    if (step.length % unit != 0) outOfRange("length must be a multiple of " + std::to_string(unit));
    if (touch && step.threads != 1) outOfRange("touch is done by one thread");
    if (!touch && step.at % 64 != 0) outOfRange("at must be a multiple of 64");
  }
  if (memory && needs.fd && step.length > kMaxMoved) outOfRange("length of one transfer must be less than 2 GiB");
  if (needs.flags == MeasureFlags::Flush && !hasFlush(step.flags)) outOfRange("this CPU has no such instruction");
  if (op == "map") own = step.length;
  if (op == "unmap") own = 0;
  return step;
}

Napi::Object resultValue(Napi::Env env, const MeasureResult& result, const std::vector<std::shared_ptr<Owned>>& samples, std::uint64_t rounds) {
  Napi::Object value = Napi::Object::New(env);
  value.Set("rounds", numberValue(env, result.rounds));
  Napi::Array steps = Napi::Array::New(env, result.steps.size());
  for (std::size_t i = 0; i < result.steps.size(); ++i) {
    const MeasureStepResult& step = result.steps[i];
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("runs", numberValue(env, step.runs));
    entry.Set("minorFaults", numberValue(env, step.minorFaults));
    entry.Set("majorFaults", numberValue(env, step.majorFaults));
    entry.Set("signals", numberValue(env, step.signals));
    if (samples[i]) entry.Set("samples", Napi::Float64Array::New(env, rounds, samples[i]->arrayBuffer(env, rounds * sizeof(double)), 0));
    steps.Set(static_cast<std::uint32_t>(i), entry);
  }
  value.Set("steps", steps);
  setFault(value, result.fault, reinterpret_cast<const std::uint8_t*>(result.base));
  return value;
}

// measure(rounds, number of steps, then the steps)
Job measureCall(Args& args) {
  Cursor cursor(args);
  MeasurePlan plan;
  plan.rounds = cursor.size("rounds", 1, kMaxRounds);
  const std::uint64_t count = cursor.size("steps", 1, kMaxMeasureSteps);
  std::uint64_t own = 0;
  for (std::uint64_t i = 0; i < count; ++i) plan.steps.push_back(readStep(cursor, plan.rounds, own));
  std::vector<std::shared_ptr<Owned>> samples;
  std::vector<double*> into;
  for (const MeasureStep& step : plan.steps) {
    samples.push_back(step.timed ? std::make_shared<Owned>(plan.rounds * sizeof(double)) : nullptr);
    into.push_back(step.timed ? samples.back()->data<double>() : nullptr);
  }
  return job([plan, into] { return measure(plan, into); },
             [samples, rounds = plan.rounds](Napi::Env env, const MeasureResult& result) { return resultValue(env, result, samples, rounds); });
}

// flushInstructions(): those that this CPU has
Job flushInstructionsCall(Args&) {
  return job([] {}, [](Napi::Env env) -> Napi::Value {
    std::vector<std::string> names;
    for (const char* name : {"clflush", "clflushopt", "clwb"})
      if (hasFlush(flushOf(name))) names.emplace_back(name);
    return textsValue(env, names);
  });
}

}  // namespace

void exportMeasure(const Exports& exports) {
  both<measureCall>(exports, "measure");
  onlyNow<flushInstructionsCall>(exports, "flushInstructions");
}

}  // namespace daxrig

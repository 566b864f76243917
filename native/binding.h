// Between JavaScript and the primitives: arguments in, jobs run here or on libuv's pool, results and errors out.
//
// Every exported call is one function `Job prepare(Args&)`: it reads and checks the arguments on the JavaScript thread and
// returns the work, which touches no JavaScript, and the making of the result. The same function serves the synchronous and
// the asynchronous form.
#pragma once

#include <napi.h>

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "errors.h"
#include "names.h"
#include "pattern.h"
#include "region.h"
#include "trace.h"

namespace daxrig {

/** The mappings of one JavaScript environment, by number: no value from JavaScript is ever taken for a pointer. */
class Instance {
 public:
  double add(std::shared_ptr<Region> region);
  std::shared_ptr<Region> find(double handle) const;
  void remove(double handle);

  /** The functions that are being collected, if any; one collection at a time. */
  std::shared_ptr<TraceCollector> trace;

 private:
  std::map<std::uint64_t, std::shared_ptr<Region>> regions_;
  std::uint64_t last_ = 0;
};

struct Job {
  std::function<void()> work;
  std::function<Napi::Value(Napi::Env)> result;
  std::vector<std::shared_ptr<Region>> regions;  // held, and counted as in flight, while the work runs elsewhere
};

/**
 * Memory for a result, filled on any thread and handed to JavaScript at the end. From malloc and not from V8, which ends the
 * process where malloc only says no.
 */
class Owned {
 public:
  explicit Owned(std::size_t length) : data_(static_cast<std::uint8_t*>(std::malloc(length > 0 ? length : 1))) {
    if (data_ == nullptr) throw std::bad_alloc();
  }
  ~Owned() { std::free(data_); }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;

  template <class T = std::uint8_t>
  T* data() {
    return reinterpret_cast<T*>(data_);
  }
  /** Gives the first bytes away, once. */
  Napi::Buffer<std::uint8_t> buffer(Napi::Env env, std::size_t length);
  Napi::ArrayBuffer arrayBuffer(Napi::Env env, std::size_t length);

 private:
  std::uint8_t* data_;
};

class Args {
 public:
  explicit Args(const Napi::CallbackInfo& info);

  Napi::Env env() const { return info_.Env(); }
  Instance& instance() const { return *instance_; }
  std::vector<std::shared_ptr<Region>> takeRegions() { return std::move(regions_); }

  bool boolean(std::size_t at, const char* name) const;
  double number(std::size_t at, const char* name) const;
  /** A whole number from low to high; both within +-2^53. */
  std::int64_t integer(std::size_t at, const char* name, std::int64_t low, std::int64_t high) const;
  std::uint64_t size(std::size_t at, const char* name, std::uint64_t high = kMaxSafe) const;
  int fd(std::size_t at, const char* name = "fd") const;
  /** An unsigned 64-bit BigInt. */
  std::uint64_t word(std::size_t at, const char* name) const;
  /** Text without NUL. */
  std::string text(std::size_t at, const char* name) const;
  std::vector<std::string> texts(std::size_t at, const char* name) const;
  /** A copy of a Uint8Array's bytes: the original may be detached or shared while the job runs. */
  std::vector<std::uint8_t> bytes(std::size_t at, const char* name) const;

  /** The mapping of a handle; the job keeps it alive. */
  std::shared_ptr<Region> region(std::size_t at);
  /** [offset, offset + length) of it, from two arguments. */
  Span span(std::size_t at, const Region& region) const;
  /** byte (-1: words), seed, base. */
  Pattern pattern(std::size_t at) const;

  static constexpr std::uint64_t kMaxSafe = (std::uint64_t{1} << 53) - 1;

 private:
  const Napi::CallbackInfo& info_;
  Instance* instance_;
  std::vector<std::shared_ptr<Region>> regions_;
};

[[noreturn]] void wrongType(const char* name, const char* wanted);
[[noreturn]] void outOfRange(const std::string& message);

/** A job whose work returns what convert(env, value) turns into the result. */
template <class Work, class Convert>
Job job(Work work, Convert convert) {
  using Value = std::invoke_result_t<Work>;
  if constexpr (std::is_void_v<Value>) {
    return {std::move(work), [convert](Napi::Env env) -> Napi::Value { return convert(env); }, {}};
  } else {
    auto slot = std::make_shared<std::optional<Value>>();
    return {[slot, work] { slot->emplace(work()); },
            [slot, convert](Napi::Env env) -> Napi::Value { return convert(env, **slot); },
            {}};
  }
}
template <class Work>
Job job(Work work) {
  return job(std::move(work), [](Napi::Env env) -> Napi::Value { return env.Undefined(); });
}

using Prepare = Job (*)(Args&);

Napi::Value callNow(const Napi::CallbackInfo& info, Prepare prepare);
Napi::Value callLater(const Napi::CallbackInfo& info, Prepare prepare);

/** Runs something that may throw any of our exceptions, and throws only Napi::Error. */
Napi::Value translated(Napi::Env env, const std::function<Napi::Value()>& body);

/** Where exports go: the synchronous forms, and the asynchronous ones of the same names. */
struct Exports {
  Napi::Object now;
  Napi::Object later;
};

template <Prepare prepare>
Napi::Value now(const Napi::CallbackInfo& info) {
  return callNow(info, prepare);
}
template <Prepare prepare>
Napi::Value later(const Napi::CallbackInfo& info) {
  return callLater(info, prepare);
}

/** For calls that take time in proportion to their arguments, or can wait for a device or the kernel: both forms. */
template <Prepare prepare>
void both(const Exports& exports, const char* name) {
  const Napi::Env env = exports.now.Env();
  exports.now.Set(name, Napi::Function::New<now<prepare>>(env, name));
  exports.later.Set(name, Napi::Function::New<later<prepare>>(env, name));
}
template <Prepare prepare>
void onlyNow(const Exports& exports, const char* name) {
  exports.now.Set(name, Napi::Function::New<now<prepare>>(exports.now.Env(), name));
}

/** Sets value.signal to {signal, code, offset, lsb?} if there was a fault; offset counts from begin. */
void setFault(Napi::Object value, const Fault& fault, const std::uint8_t* begin);

inline Napi::Number numberValue(Napi::Env env, double value) { return Napi::Number::New(env, value); }
template <class Integer>
Napi::Number numberValue(Napi::Env env, Integer value) {
  return Napi::Number::New(env, static_cast<double>(value));
}
inline Napi::BigInt wordValue(Napi::Env env, std::uint64_t value) { return Napi::BigInt::New(env, value); }
Napi::Array textsValue(Napi::Env env, const std::vector<std::string>& texts);

void exportMapping(const Exports& exports);
void exportFiles(const Exports& exports);
void exportMeasure(const Exports& exports);
void exportRace(const Exports& exports);
void exportSystem(const Exports& exports);

/** The kernel's numbers of the names that mmap(2), madvise(2) and msync(2) go by here. */
int shareOf(std::string_view name);
int adviceOf(std::string_view name);
int syncOf(std::string_view name);

}  // namespace daxrig

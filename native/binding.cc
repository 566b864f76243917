#include "binding.h"

#include <signal.h>

#include <cmath>
#include <limits>
#include <new>
#include <utility>

#include "guard.h"
#include "names.h"

namespace daxrig {
namespace {

Napi::Error systemError(Napi::Env env, const SystemFailure& failure) {
  const std::string code = codeText(failure.number);
  Napi::Error error = Napi::Error::New(env, std::string(failure.call) + ": " + code);
  Napi::Object object = error.Value();
  object.Set("code", code);
  object.Set("errno", numberValue(env, failure.number));
  object.Set("syscall", failure.call);
  return error;
}

Napi::Error argumentError(Napi::Env env, const BadArgument& bad) {
  if (bad.kind == BadArgument::Kind::Type) return Napi::TypeError::New(env, bad.message);
  return Napi::RangeError::New(env, bad.message);
}

constexpr const char* kNoMemory = "not enough memory for a call of this size";

/** A job on libuv's pool, and the promise for its result. */
class Worker final : public Napi::AsyncWorker {
 public:
  Worker(Napi::Env env, Job job) : AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)), job_(std::move(job)) {
    for (const auto& region : job_.regions) ++region->inFlight;
  }
  ~Worker() override { land(); }

  Napi::Promise promise() const { return deferred_.Promise(); }

  void Execute() override {
    unblockFaultSignals();
    try {
      job_.work();
    } catch (const SystemFailure& failure) {
      failure_ = failure;
    } catch (const BadArgument& bad) {
      bad_ = bad;
    } catch (const std::bad_alloc&) {
      bad_ = BadArgument{BadArgument::Kind::Range, kNoMemory};
    } catch (const std::exception& other) {
      SetError(other.what());
    }
  }

  void OnOK() override {
    land();
    unlessEnding([this] { settle(); });
  }

  void OnError(const Napi::Error& error) override {
    land();
    unlessEnding([&] { deferred_.Reject(error.Value()); });
  }

 private:
  /** The work is over: the regions are no longer in flight, and closed ones are unmapped with the last reference. */
  void land() {
    for (const auto& region : job_.regions) --region->inFlight;
    job_.regions.clear();
  }

  void settle() {
    const Napi::Env env = Env();
    if (failure_) return deferred_.Reject(systemError(env, *failure_).Value());
    if (bad_) return deferred_.Reject(argumentError(env, *bad_).Value());
    Napi::Value result;
    try {
      result = translated(env, [&] { return job_.result(env); });
    } catch (const Napi::Error& error) {
      return deferred_.Reject(error.Value());
    }
    deferred_.Resolve(result);
  }

  /** A worker thread may be terminated while its jobs run: then nothing of JavaScript works any more, and nobody waits. */
  template <class Body>
  void unlessEnding(Body body) {
    const Napi::HandleScope scope(Env());
    try {
      body();
    } catch (const Napi::Error&) {
    }
  }

  Napi::Promise::Deferred deferred_;
  Job job_;
  std::optional<SystemFailure> failure_;
  std::optional<BadArgument> bad_;
};

Job prepareJob(const Napi::CallbackInfo& info, Prepare prepare) {
  Args args(info);
  Job prepared = prepare(args);
  prepared.regions = args.takeRegions();
  return prepared;
}

}  // namespace

double Instance::add(std::shared_ptr<Region> region) {
  regions_.emplace(++last_, std::move(region));
  return static_cast<double>(last_);
}

std::shared_ptr<Region> Instance::find(double handle) const {
  if (handle >= 1 && handle <= static_cast<double>(last_)) {
    const auto found = regions_.find(static_cast<std::uint64_t>(handle));
    if (found != regions_.end()) return found->second;
  }
  throw SystemFailure{EBADF, "mapping"};
}

void Instance::remove(double handle) {
  find(handle);
  regions_.erase(static_cast<std::uint64_t>(handle));
}

Napi::Buffer<std::uint8_t> Owned::buffer(Napi::Env env, std::size_t length) {
  return Napi::Buffer<std::uint8_t>::New(env, std::exchange(data_, nullptr), length,
                                         [](Napi::Env, std::uint8_t* data) { std::free(data); });
}

Napi::ArrayBuffer Owned::arrayBuffer(Napi::Env env, std::size_t length) {
  return Napi::ArrayBuffer::New(env, std::exchange(data_, nullptr), length, [](Napi::Env, void* data) { std::free(data); });
}

void wrongType(const char* name, const char* wanted) {
  throw BadArgument{BadArgument::Kind::Type, std::string(name) + " must be " + wanted};
}
void outOfRange(const std::string& message) { throw BadArgument{BadArgument::Kind::Range, message}; }

Args::Args(const Napi::CallbackInfo& info) : info_(info), instance_(info.Env().GetInstanceData<Instance>()) {}

bool Args::boolean(std::size_t at, const char* name) const {
  if (!info_[at].IsBoolean()) wrongType(name, "a boolean");
  return info_[at].As<Napi::Boolean>().Value();
}

double Args::number(std::size_t at, const char* name) const {
  if (!info_[at].IsNumber()) wrongType(name, "a number");
  return info_[at].As<Napi::Number>().DoubleValue();
}

std::int64_t Args::integer(std::size_t at, const char* name, std::int64_t low, std::int64_t high) const {
  const double value = number(at, name);
  // NaN fails each comparison; the limits are exact as doubles.
  if (!(value >= static_cast<double>(low) && value <= static_cast<double>(high)) || value != std::floor(value))
    outOfRange(std::string(name) + " must be a whole number from " + std::to_string(low) + " to " + std::to_string(high));
  return static_cast<std::int64_t>(value);
}

std::uint64_t Args::size(std::size_t at, const char* name, std::uint64_t high) const {
  return static_cast<std::uint64_t>(integer(at, name, 0, static_cast<std::int64_t>(high)));
}

int Args::fd(std::size_t at, const char* name) const {
  return static_cast<int>(integer(at, name, 0, std::numeric_limits<int>::max()));
}

std::uint64_t Args::word(std::size_t at, const char* name) const {
  if (!info_[at].IsBigInt()) wrongType(name, "a BigInt");
  bool lossless = false;
  const std::uint64_t value = info_[at].As<Napi::BigInt>().Uint64Value(&lossless);
  if (!lossless) outOfRange(std::string(name) + " must fit 64 bits, unsigned");
  return value;
}

std::string Args::text(std::size_t at, const char* name) const {
  if (!info_[at].IsString()) wrongType(name, "a string");
  std::string text = info_[at].As<Napi::String>().Utf8Value();
  if (text.find('\0') != std::string::npos) outOfRange(std::string(name) + " must not hold NUL");
  return text;
}

std::vector<std::string> Args::texts(std::size_t at, const char* name) const {
  if (!info_[at].IsArray()) wrongType(name, "an array of strings");
  const auto array = info_[at].As<Napi::Array>();
  std::vector<std::string> texts;
  for (std::uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value item = array.Get(i);
    if (!item.IsString()) wrongType(name, "an array of strings");
    texts.push_back(item.As<Napi::String>().Utf8Value());
  }
  return texts;
}

std::vector<std::uint8_t> Args::bytes(std::size_t at, const char* name) const {
  if (!info_[at].IsTypedArray() || info_[at].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
    wrongType(name, "a Buffer or Uint8Array");
  const auto array = info_[at].As<Napi::Uint8Array>();
  // A detached array has length 0.
  if (array.ElementLength() == 0) return {};
  return std::vector<std::uint8_t>(array.Data(), array.Data() + array.ElementLength());
}

std::shared_ptr<Region> Args::region(std::size_t at) {
  auto region = instance_->find(number(at, "mapping"));
  regions_.push_back(region);
  return region;
}

Span Args::span(std::size_t at, const Region& region) const {
  return region.span(size(at, "offset"), size(at + 1, "length"));
}

Pattern Args::pattern(std::size_t at) const {
  const auto byte = integer(at, "byte", -1, 255);
  const std::uint64_t seed = word(at + 1, "seed");
  const std::uint64_t base = size(at + 2, "base");
  const auto kind = byte < 0 ? Pattern::Kind::Words : Pattern::Kind::Byte;
  if (kind == Pattern::Kind::Words && base % 8 != 0) outOfRange("base must be a multiple of 8");
  return {kind, static_cast<std::uint8_t>(byte < 0 ? 0 : byte), seed, base};
}

Napi::Value translated(Napi::Env env, const std::function<Napi::Value()>& body) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (const SystemFailure& failure) {
    throw systemError(env, failure);
  } catch (const BadArgument& bad) {
    throw argumentError(env, bad);
  } catch (const std::bad_alloc&) {
    throw Napi::RangeError::New(env, kNoMemory);
  } catch (const std::exception& other) {
    throw Napi::Error::New(env, other.what());
  }
}

Napi::Value callNow(const Napi::CallbackInfo& info, Prepare prepare) {
  const Napi::Env env = info.Env();
  return translated(env, [&] {
    const Job prepared = prepareJob(info, prepare);
    prepared.work();
    return prepared.result(env);
  });
}

Napi::Value callLater(const Napi::CallbackInfo& info, Prepare prepare) {
  const Napi::Env env = info.Env();
  return translated(env, [&] {
    auto worker = std::make_unique<Worker>(env, prepareJob(info, prepare));
    const Napi::Promise promise = worker->promise();
    worker->Queue();
    worker.release();  // deletes itself when done
    return promise;
  });
}

void setFault(Napi::Object value, const Fault& fault, const std::uint8_t* begin) {
  if (fault.signal == 0) return;
  const Napi::Env env = value.Env();
  Napi::Object signal = Napi::Object::New(env);
  signal.Set("signal", fault.signal == SIGBUS ? "SIGBUS" : "SIGSEGV");
  signal.Set("code", faultCodeText(fault.signal, fault.code));
  const auto offset = static_cast<std::int64_t>(fault.address - reinterpret_cast<std::uintptr_t>(begin));
  signal.Set("offset", numberValue(env, offset));
  if (fault.lsb != 0) signal.Set("lsb", numberValue(env, fault.lsb));
  value.Set("signal", signal);
}

Napi::Array textsValue(Napi::Env env, const std::vector<std::string>& texts) {
  Napi::Array array = Napi::Array::New(env, texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) array.Set(static_cast<std::uint32_t>(i), texts[i]);
  return array;
}

}  // namespace daxrig

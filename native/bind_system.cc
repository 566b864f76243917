// Exports that work on the machine, other processes and the addon itself.
#include <sys/wait.h>

#include <algorithm>

#include "binding.h"
#include "forked.h"
#include "guard.h"
#include "pages.h"
#include "program.h"
#include "system.h"

namespace daxrig {
namespace {

constexpr std::uint64_t kMaxChunk = std::uint64_t{1} << 20;   // words per read
constexpr std::uint64_t kMaxValues = std::uint64_t{1} << 20;  // pfns
constexpr std::uint64_t kMaxBuffer = 0x7ffff000;
constexpr std::int64_t kMaxTimeout = 24 * 3600 * 1000;

// mount(source, target, type, flags, data)
Job mountCall(Args& args) {
  const std::string source = args.text(0, "source");
  const std::string target = args.text(1, "target");
  const std::string type = args.text(2, "type");
  unsigned long flags = 0;
  for (const std::string& name : args.texts(3, "flags")) flags |= mountFlag(name);
  const std::string data = args.text(4, "data");
  return job([=] { mountFileSystem(source, target, type, flags, data); });
}

// umount(target, flags)
Job umountCall(Args& args) {
  const std::string target = args.text(0, "target");
  int flags = 0;
  for (const std::string& name : args.texts(1, "flags")) flags |= umountFlag(name);
  return job([=] { unmountFileSystem(target, flags); });
}

// setRealtime(ns)
Job setRealtimeCall(Args& args) {
  const std::uint64_t ns = args.word(0, "ns");
  if (ns > 0x7fffffffffffffff) outOfRange("ns must be less than 2^63");
  return job([=] { setRealtime(static_cast<std::int64_t>(ns)); });
}

// addEntropy(bytes)
Job addEntropyCall(Args& args) {
  const auto bytes = args.bytes(0, "bytes");
  if (bytes.size() > 65536) outOfRange("bytes must be 64 KiB or less");
  return job([=] { addEntropy(bytes); });
}

// writeSecondSerialPort(bytes)
Job writeSecondSerialPortCall(Args& args) {
  const auto bytes = args.bytes(0, "bytes");
  return job([=] { writeSecondSerialPort(bytes); });
}

// setMceKill(policy)
Job setMceKillCall(Args& args) {
  const int policy = mceKillPolicy(args.text(0, "policy"));
  return job([=] { setMceKillPolicy(policy); });
}

// finitModule(fd, parameters)
Job finitModuleCall(Args& args) {
  const int fd = args.fd(0);
  const std::string parameters = args.text(1, "parameters");
  return job([=] { finitModule(fd, parameters); });
}

// deleteModule(name)
Job deleteModuleCall(Args& args) {
  const std::string name = args.text(0, "name");
  return job([=] { deleteModule(name); });
}

// runProgram(path, args, timeoutMs, maxBytes)
Job runProgramCall(Args& args) {
  const std::string path = args.text(0, "path");
  const std::vector<std::string> words = args.texts(1, "args");
  const ProgramLimits limits{static_cast<long>(args.integer(2, "timeoutMs", 1, kMaxTimeout)),
                             static_cast<std::size_t>(args.size(3, "maxBytes", kMaxBuffer))};
  return job([=] { return runProgram(path, words, limits); },
             [](Napi::Env env, const ProgramEnd& end) -> Napi::Value {
               Napi::Object value = Napi::Object::New(env);
               if (end.signal == 0) value.Set("status", numberValue(env, end.status));
               else value.Set("signal", numberValue(env, end.signal));
               if (end.killed != ProgramEnd::Killed::No)
                 value.Set("killed", end.killed == ProgramEnd::Killed::Timeout ? "timeout" : "output");
               value.Set("stdout", Napi::String::New(env, end.out));
               value.Set("stderr", Napi::String::New(env, end.err));
               return value;
             });
}

/** {status} or {signal}, of a wait status. */
Napi::Value endValue(Napi::Env env, int status) {
  Napi::Object value = Napi::Object::New(env);
  if (WIFSIGNALED(status)) value.Set("signal", numberValue(env, WTERMSIG(status)));
  else value.Set("status", numberValue(env, WEXITSTATUS(status)));
  return value;
}

// startCompanion(path, args)
Job startCompanionCall(Args& args) {
  const std::string path = args.text(0, "path");
  const std::vector<std::string> words = args.texts(1, "args");
  return job([=] { return std::make_shared<Companion>(startCompanion(path, words)); },
             [](Napi::Env env, const std::shared_ptr<Companion>& companion) -> Napi::Value {
               Napi::Object value = Napi::Object::New(env);
               value.Set("pid", numberValue(env, companion->pid));
               value.Set("socket", numberValue(env, companion->socket.release()));
               return value;
             });
}

// askCompanion(socket, line)
Job askCompanionCall(Args& args) {
  const auto socket = std::make_shared<Fd>(Fd::duplicate(args.fd(0, "socket")));
  const std::string line = args.text(1, "line");
  return job([=] { return askCompanion(socket->get(), line); },
             [](Napi::Env env, const std::optional<std::string>& answer) -> Napi::Value {
               if (!answer) return env.Undefined();
               return Napi::String::New(env, *answer);
             });
}

// killCompanion(pid)
Job killCompanionCall(Args& args) {
  const int pid = static_cast<int>(args.integer(0, "pid", 1, 0x7fffffff));
  return job([=] { killCompanion(pid); });
}

// awaitChild(pid)
Job awaitChildCall(Args& args) {
  const int pid = static_cast<int>(args.integer(0, "pid", 1, 0x7fffffff));
  return job([=] { return awaitChild(pid); }, endValue);
}

// forkExec(path)
Job forkExecCall(Args& args) {
  const std::string path = args.text(0, "path");
  return job([=] { return forkExec(path); }, endValue);
}

// reboot(command)
Job rebootCall(Args& args) {
  const int command = rebootCommand(args.text(0, "command"));
  return job([=] { rebootMachine(command); });
}

// processVmRead(pid, address, length)
Job processVmReadCall(Args& args) {
  const int pid = static_cast<int>(args.integer(0, "pid", 1, 0x7fffffff));
  const std::uint64_t address = args.word(1, "address");
  const std::uint64_t length = args.size(2, "length", kMaxBuffer);
  const auto bytes = std::make_shared<Owned>(length);
  return job([=] { return processVmRead(pid, address, bytes->data(), length); },
             [bytes](Napi::Env env, std::size_t done) { return bytes->buffer(env, done); });
}

Napi::Object kpageValue(Napi::Env env, const KpageScan& scan) {
  Napi::Object value = Napi::Object::New(env);
  value.Set("read", numberValue(env, scan.read));
  Napi::Array perBit = Napi::Array::New(env, scan.perBit.size());
  for (std::size_t i = 0; i < scan.perBit.size(); ++i)
    perBit.Set(static_cast<std::uint32_t>(i), numberValue(env, scan.perBit[i]));
  value.Set("perBit", perBit);
  value.Set("nonZero", numberValue(env, scan.nonZero));
  value.Set("max", wordValue(env, scan.max));
  if (scan.ended) value.Set("endedAt", numberValue(env, scan.endedAt));
  value.Set("errorCount", numberValue(env, scan.errorCount));
  Napi::Array errors = Napi::Array::New(env, scan.errors.size());
  for (std::size_t i = 0; i < scan.errors.size(); ++i) {
    Napi::Object error = Napi::Object::New(env);
    error.Set("pfn", numberValue(env, scan.errors[i].pfn));
    error.Set("code", codeText(scan.errors[i].number));
    errors.Set(static_cast<std::uint32_t>(i), error);
  }
  value.Set("errors", errors);
  if (!scan.values.empty()) {
    const std::size_t bytes = scan.values.size() * sizeof(std::uint64_t);
    Owned values(bytes);
    std::copy(scan.values.begin(), scan.values.end(), values.data<std::uint64_t>());
    value.Set("values", Napi::BigUint64Array::New(env, scan.values.size(), values.arrayBuffer(env, bytes), 0));
  }
  return value;
}

// kpageScan(path, startPfn, endPfn, chunk, values)
Job kpageScanCall(Args& args) {
  const std::string path = args.text(0, "path");
  const std::uint64_t maxPfn = std::uint64_t{1} << 50;
  const std::uint64_t start = args.size(1, "startPfn", maxPfn);
  const std::uint64_t end = args.size(2, "endPfn", maxPfn);
  const std::uint64_t chunk = args.size(3, "chunk", kMaxChunk);
  const bool values = args.boolean(4, "values");
  if (start > end) outOfRange("startPfn must not be past endPfn");
  if (chunk == 0) outOfRange("chunk must not be 0");
  if (values && end - start > kMaxValues) outOfRange("values are kept for 2^20 pfns or less");
  return job([=] { return kpageScan(path, start, end, chunk, values); }, kpageValue);
}

Napi::Object clockValue(Napi::Env env, const ClockCost& clock) {
  Napi::Object value = Napi::Object::New(env);
  value.Set("resolutionNs", numberValue(env, clock.resolutionNs));
  value.Set("overheadNs", numberValue(env, clock.overheadNs));
  return value;
}

// clocks()
Job clocksCall(Args&) {
  return job([] { return measureClocks(); },
             [](Napi::Env env, const Clocks& clocks) {
               Napi::Object value = Napi::Object::New(env);
               value.Set("raw", clockValue(env, clocks.raw));
               value.Set("monotonic", clockValue(env, clocks.monotonic));
               if (clocks.tscPerNs > 0) {
                 Napi::Object tsc = clockValue(env, clocks.tsc);
                 tsc.Set("ticksPerNs", numberValue(env, clocks.tscPerNs));
                 value.Set("tsc", tsc);
               }
               return value;
             });
}

struct Drained {
  std::vector<OptionalSignal> signals;
  std::uint64_t lost;
};

// drainSignals()
Job drainSignalsCall(Args&) {
  return job(
      [] {
        Drained drained;
        drained.lost = drainOptionalSignals(drained.signals);
        return drained;
      },
      [](Napi::Env env, const Drained& drained) {
        Napi::Array signals = Napi::Array::New(env, drained.signals.size());
        for (std::size_t i = 0; i < drained.signals.size(); ++i) {
          const OptionalSignal& from = drained.signals[i];
          Napi::Object signal = Napi::Object::New(env);
          signal.Set("address", wordValue(env, from.address));
          signal.Set("lsb", numberValue(env, from.lsb));
          signal.Set("thread", numberValue(env, from.thread));
          signal.Set("timeNs", numberValue(env, from.timeNs));
          signals.Set(static_cast<std::uint32_t>(i), signal);
        }
        Napi::Object value = Napi::Object::New(env);
        value.Set("signals", signals);
        value.Set("lost", numberValue(env, drained.lost));
        return value;
      });
}

// errnoName(number)
Job errnoNameCall(Args& args) {
  const int number = static_cast<int>(args.integer(0, "errno", 0, 0x7fffffff));
  return job([=] { return errnoName(number); },
             [](Napi::Env env, const char* name) -> Napi::Value {
               return name != nullptr ? Napi::Value(Napi::String::New(env, name)) : env.Undefined();
             });
}

/** Past all of the machinery above: what it measures is the way into native code and back. */
napi_value nothing(napi_env, napi_callback_info) { return nullptr; }

// traceStart(instance, event, addressAt)
Job traceStartCall(Args& args) {
  const std::string folder = args.text(0, "instance");
  const auto event = static_cast<std::uint16_t>(args.integer(1, "event", 1, 0xffff));
  const auto addressAt = static_cast<std::size_t>(args.integer(2, "addressAt", 8, 64));
  Instance& instance = args.instance();
  return job([=, &instance] {
    if (instance.trace) throw SystemFailure{EBUSY, "traceStart"};
    instance.trace = std::make_shared<TraceCollector>(folder, event, addressAt);
  });
}

// traceFinish()
Job traceFinishCall(Args& args) {
  Instance& instance = args.instance();
  return job(
      [&instance] {
        if (!instance.trace) throw SystemFailure{EINVAL, "traceFinish"};
        const auto collector = std::move(instance.trace);
        return collector->finish();
      },
      [](Napi::Env env, const FunctionHits& hits) {
        Napi::Array functions = Napi::Array::New(env, hits.byAddress.size());
        std::uint32_t at = 0;
        for (const auto& [address, count] : hits.byAddress) {
          Napi::Object entry = Napi::Object::New(env);
          entry.Set("address", wordValue(env, address));
          entry.Set("hits", numberValue(env, count));
          functions.Set(at++, entry);
        }
        Napi::Object value = Napi::Object::New(env);
        value.Set("functions", functions);
        value.Set("missed", numberValue(env, hits.missed));
        return value;
      });
}

}  // namespace

void exportSystem(const Exports& exports) {
  both<mountCall>(exports, "mount");
  both<umountCall>(exports, "umount");
  onlyNow<setRealtimeCall>(exports, "setRealtime");
  onlyNow<addEntropyCall>(exports, "addEntropy");
  onlyNow<writeSecondSerialPortCall>(exports, "writeSecondSerialPort");
  onlyNow<setMceKillCall>(exports, "setMceKill");
  both<finitModuleCall>(exports, "finitModule");
  both<deleteModuleCall>(exports, "deleteModule");
  both<runProgramCall>(exports, "runProgram");
  both<startCompanionCall>(exports, "startCompanion");
  both<askCompanionCall>(exports, "askCompanion");
  both<killCompanionCall>(exports, "killCompanion");
  both<awaitChildCall>(exports, "awaitChild");
  both<forkExecCall>(exports, "forkExec");
  onlyNow<rebootCall>(exports, "reboot");
  both<processVmReadCall>(exports, "processVmRead");
  both<kpageScanCall>(exports, "kpageScan");
  onlyNow<clocksCall>(exports, "clocks");
  onlyNow<drainSignalsCall>(exports, "drainSignals");
  onlyNow<errnoNameCall>(exports, "errnoName");
  onlyNow<traceStartCall>(exports, "traceStart");
  onlyNow<traceFinishCall>(exports, "traceFinish");
  const Napi::Env env = exports.now.Env();
  napi_value function = nullptr;
  napi_create_function(env, "nothing", NAPI_AUTO_LENGTH, nothing, nullptr, &function);
  exports.now.Set("nothing", Napi::Value(env, function));
}

}  // namespace daxrig

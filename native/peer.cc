// A second process with one mapping of its own: a program by itself, since a forked one would have its parent's mappings too.
// It obeys one line of words at a time and answers with one line of JSON, until its input ends.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "access.h"
#include "errors.h"
#include "fd.h"
#include "guard.h"
#include "names.h"
#include "region.h"
#include "system.h"

namespace daxrig {
namespace {

std::shared_ptr<Region> region;

Region& mapped() {
  if (!region) throw BadArgument{BadArgument::Kind::Range, "nothing is mapped"};
  return *region;
}

/** The words of a request, each taken once. */
class Request {
 public:
  explicit Request(const std::string& line) : words_(line) {}
  std::string word() {
    std::string word;
    if (!(words_ >> word)) throw BadArgument{BadArgument::Kind::Range, "a word is missing"};
    return word;
  }
  std::uint64_t number() {
    const std::string text = word();
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) throw BadArgument{BadArgument::Kind::Range, '"' + text + "\" is no number"};
    return value;
  }
  /** For what is read and written by words of 8 bytes. */
  std::uint64_t eights() {
    const std::uint64_t value = number();
    if (value % 8 != 0) throw BadArgument{BadArgument::Kind::Range, std::to_string(value) + " is no multiple of 8"};
    return value;
  }
  /** What is left of the line: a path may hold spaces. */
  std::string rest() {
    std::string rest;
    std::getline(words_ >> std::ws, rest);
    return rest;
  }
  Span span() {
    const std::uint64_t offset = eights();
    return mapped().span(offset, eights());
  }
  Pattern pattern() {
    const std::uint64_t seed = number();
    return {Pattern::Kind::Words, 0, seed, eights()};
  }

 private:
  std::istringstream words_;
};

std::string quoted(const std::string& text) {
  std::string to = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') to += '\\';
    if (static_cast<unsigned char>(c) >= ' ') to += c;
  }
  return to + '"';
}

/** A JSON object, member by member. */
class Answer {
 public:
  Answer& add(const char* name, const std::string& json) {
    text_ += (text_.empty() ? "{\"" : ",\"") + std::string(name) + "\":" + json;
    return *this;
  }
  Answer& add(const char* name, std::uint64_t value) { return add(name, std::to_string(value)); }
  /** As text: JSON's numbers have 53 bits in JavaScript. */
  Answer& addWord(const char* name, std::uint64_t value) { return add(name, quoted(std::to_string(value))); }
  /** An offset counts from `begin`. */
  Answer& add(const Fault& fault, const std::uint8_t* begin) {
    if (fault.signal == 0) return *this;
    Answer signal;
    signal.add("signal", quoted(fault.signal == SIGBUS ? "SIGBUS" : "SIGSEGV")).add("code", quoted(faultCodeText(fault.signal, fault.code)));
    signal.add("offset", std::to_string(static_cast<std::int64_t>(fault.address - reinterpret_cast<std::uintptr_t>(begin))));
    if (fault.lsb != 0) signal.add("lsb", std::to_string(fault.lsb));
    return add("signal", signal.json());
  }
  Answer& add(const Verified& verified, const std::uint8_t* begin) {
    const auto& [verdict, fault] = verified;
    add("ok", verdict.mismatches == 0 && fault.signal == 0 ? "true" : "false").add("compared", verdict.done).add("mismatches", verdict.mismatches);
    if (verdict.mismatches > 0) add("firstOffset", verdict.firstOffset).addWord("expected", verdict.expected).addWord("actual", verdict.actual);
    return add(fault, begin);
  }
  std::string json() const { return text_.empty() ? "{}" : text_ + '}'; }

 private:
  std::string text_;
};

Answer map(Request& request) {
  MapRequest map;
  map.fileOffset = request.number();
  map.length = request.number();
  map.align = request.number();
  map.alignSkew = request.number();
  map.protection = PROT_READ | PROT_WRITE;
  map.flags = MAP_SHARED;
  const std::string path = request.rest();
  const Fd fd{check(open(path.c_str(), O_RDWR | O_CLOEXEC), "open")};
  map.fd = fd.get();
  region = Region::map(map);
  return {};
}

Answer touchPages(Request& request) {
  TouchPlan plan{};
  const std::uint64_t offset = request.eights();
  plan.count = request.number();
  plan.stride = request.eights();
  const std::string access = request.word();
  if (access != "read" && access != "rmw") throw BadArgument{BadArgument::Kind::Range, "access is none of: read rmw"};
  plan.access = access == "read" ? Access::Read : Access::ReadModifyWrite;
  const std::size_t length = mapped().length();
  if (plan.count > 1 && plan.stride > length / (plan.count - 1)) throw BadArgument{BadArgument::Kind::Range, "the last access lies behind the mapping"};
  plan.span = mapped().span(offset, plan.count == 0 ? 0 : (plan.count - 1) * plan.stride + 8);
  const TouchResult touched = touch(plan);
  Answer answer;
  answer.add("done", touched.done).add("minorFaults", static_cast<std::uint64_t>(touched.minorFaults));
  return answer.add(touched.fault, mapped().begin());
}

Answer drain() {
  std::vector<OptionalSignal> signals;
  const std::uint64_t lost = drainOptionalSignals(signals);
  std::string list;
  for (const OptionalSignal& signal : signals) {
    Answer one;
    one.add("lsb", std::to_string(signal.lsb));
    if (region) one.add("offset", std::to_string(static_cast<std::int64_t>(signal.address - reinterpret_cast<std::uintptr_t>(region->begin()))));
    list += (list.empty() ? "" : ",") + one.json();
  }
  Answer answer;
  return answer.add("lost", lost).add("signals", '[' + list + ']');
}

Answer remoteVerify(Request& request) {
  const int pid = static_cast<int>(request.number());
  const std::uint64_t address = request.number();
  std::vector<std::uint8_t> bytes(request.number());
  const std::size_t read = processVmRead(pid, address, bytes.data(), bytes.size());
  const Verified verified = verify({bytes.data(), bytes.size(), bytes.data(), read}, request.pattern());
  Answer answer;
  return answer.add("read", read).add(verified, bytes.data());
}

Answer obey(Request& request) {
  const std::string what = request.word();
  Answer answer;
  if (what == "map") return map(request);
  if (what == "touch") return touchPages(request);
  if (what == "drain") return drain();
  if (what == "vm-verify") return remoteVerify(request);
  if (what == "mce-kill") {
    setMceKillPolicy(mceKillPolicy(request.word()));
    return answer;
  }
  if (what == "fill") {
    const Span span = request.span();
    const Progress progress = fill(span, request.pattern());
    return answer.add("done", progress.done).add(progress.fault, mapped().begin());
  }
  if (what == "verify") {
    const Span span = request.span();
    const Verified verified = verify(span, request.pattern());
    return answer.add(verified, mapped().begin());
  }
  throw BadArgument{BadArgument::Kind::Range, "it cannot " + what};
}

std::string answerTo(const std::string& line) {
  const auto error = [](const std::string& why) { return Answer().add("error", quoted(why)).json(); };
  try {
    Request request(line);
    return obey(request).json();
  } catch (const SystemFailure& failure) {
    return error(std::string(failure.call) + ": " + codeText(failure.number));
  } catch (const BadArgument& bad) {
    return error(bad.message);
  } catch (const std::exception& other) {
    return error(other.what());
  }
}

/** Answers every line of standard input, by read(2) itself: a memory failure's signal interrupts it, which a stream takes for the end. */
void serve() {
  std::string pending;
  std::array<char, 4096> chunk;
  for (;;) {
    const ssize_t count = retryInterrupted([&] { return read(STDIN_FILENO, chunk.data(), chunk.size()); });
    if (count <= 0) return;
    pending.append(chunk.data(), static_cast<std::size_t>(count));
    for (std::size_t end; (end = pending.find('\n')) != std::string::npos; pending.erase(0, end + 1)) {
      const std::string answer = answerTo(pending.substr(0, end)) + '\n';
      for (std::size_t done = 0; done < answer.size();) {
        const ssize_t written = retryInterrupted([&] { return write(STDOUT_FILENO, answer.data() + done, answer.size() - done); });
        if (written < 0) return;
        done += static_cast<std::size_t>(written);
      }
    }
  }
}

}  // namespace
}  // namespace daxrig

int main() {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  daxrig::installGuard();
  daxrig::unblockFaultSignals();
  daxrig::serve();
}

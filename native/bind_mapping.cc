// Exports that work on a mapping. A handle is the first argument of each.
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "access.h"
#include "binding.h"
#include "forked.h"
#include "names.h"
#include "pages.h"
#include "uring.h"

#ifndef MAP_SYNC
#define MAP_SYNC 0x80000
#endif
#ifndef MAP_SHARED_VALIDATE
#define MAP_SHARED_VALIDATE 0x03
#endif
#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif

namespace daxrig {
namespace {

constexpr std::uint64_t kMaxMapping = std::uint64_t{1} << 47;
constexpr std::uint64_t kMaxAlign = std::uint64_t{1} << 40;
constexpr std::uint64_t kMaxTransfer = 0x7ffff000;  // of one pread(2); also the most that one Buffer is made for
constexpr std::uint64_t kMaxTouches = std::uint64_t{1} << 32;
constexpr std::uint64_t kMaxTimed = std::uint64_t{1} << 26;
constexpr std::uint64_t kMaxNodes = 1024;
constexpr std::uint64_t kBitsOfWord = 8 * sizeof(unsigned long);
constexpr std::uint64_t kMaxShuffled = std::uint64_t{1} << 26;

constexpr Name kProtections[] = {{"none", PROT_NONE}, {"r", PROT_READ}, {"rw", PROT_READ | PROT_WRITE}};
constexpr Name kShares[] = {
    {"shared", MAP_SHARED}, {"private", MAP_PRIVATE}, {"sync", MAP_SHARED_VALIDATE | MAP_SYNC}};
constexpr Name kAccesses[] = {{"read", static_cast<long>(Access::Read)},
                              {"write", static_cast<long>(Access::Write)},
                              {"rmw", static_cast<long>(Access::ReadModifyWrite)}};
constexpr Name kClocks[] = {{"none", static_cast<long>(Clock::None)},
                            {"raw", static_cast<long>(Clock::MonotonicRaw)},
                            {"monotonic", static_cast<long>(Clock::Monotonic)},
                            {"tsc", static_cast<long>(Clock::Tsc)}};
constexpr Name kSyncs[] = {{"sync", MS_SYNC}, {"async", MS_ASYNC}, {"invalidate", MS_SYNC | MS_INVALIDATE}};

// include/uapi/asm-generic/mman-common.h; numbers, since the build machine's headers may be older than the kernel under test.
constexpr Name kAdvice[] = {
    {"normal", 0},          {"random", 1},         {"sequential", 2},     {"willneed", 3},     {"dontneed", 4},
    {"free", 8},            {"remove", 9},         {"dontfork", 10},      {"dofork", 11},      {"mergeable", 12},
    {"unmergeable", 13},    {"hugepage", 14},      {"nohugepage", 15},    {"dontdump", 16},    {"dodump", 17},
    {"wipeonfork", 18},     {"keeponfork", 19},    {"cold", 20},          {"pageout", 21},     {"populate-read", 22},
    {"populate-write", 23}, {"dontneed-locked", 24}, {"collapse", 25},    {"hwpoison", 100},   {"soft-offline", 101},
    {"guard-install", 102}, {"guard-remove", 103},
};

void requireWords(const Span& span, const Pattern& pattern) {
  if (pattern.kind != Pattern::Kind::Words) return;
  if (span.length % 8 != 0 || reinterpret_cast<std::uintptr_t>(span.start) % 8 != 0)
    outOfRange("offset and length must be multiples of 8 for a pattern of words");
}

Job map(Args& args) {
  MapRequest request;
  request.fd = static_cast<int>(args.integer(0, "fd", -1, 0x7fffffff));
  request.length = args.size(1, "length", kMaxMapping);
  request.fileOffset = args.size(2, "offset");
  request.protection = static_cast<int>(valueOf(kProtections, args.text(3, "prot"), "prot"));
  request.flags = static_cast<int>(valueOf(kShares, args.text(4, "share"), "share"));
  request.align = args.size(5, "align", kMaxAlign);
  request.alignSkew = args.size(6, "alignSkew", kMaxAlign);
  const std::uint64_t hugeShift = args.size(7, "hugetlb", 40);
  if (args.boolean(8, "populate")) request.flags |= MAP_POPULATE;
  if (args.boolean(9, "noreserve")) request.flags |= MAP_NORESERVE;
  if (request.length == 0) outOfRange("length must not be 0");
  if (request.align != 0 && ((request.align & (request.align - 1)) != 0 || request.align < pageSize()))
    outOfRange("align must be a power of two, a page or more");
  if (request.alignSkew % pageSize() != 0 || (request.alignSkew != 0 && request.alignSkew >= request.align))
    outOfRange("alignSkew must be whole pages and less than align");
  if (hugeShift != 0 && (hugeShift < 16 || hugeShift > 34)) outOfRange("hugetlb is no size of huge pages");
  if (request.fd == -1) request.flags |= MAP_ANONYMOUS;
  if (hugeShift != 0) request.flags |= MAP_HUGETLB | static_cast<int>(hugeShift << MAP_HUGE_SHIFT);
  Instance* instance = &args.instance();
  return job([=] { return Region::map(request); },
             [=](Napi::Env env, const std::shared_ptr<Region>& region) {
               Napi::Object result = Napi::Object::New(env);
               result.Set("handle", numberValue(env, instance->add(region)));
               result.Set("address", wordValue(env, reinterpret_cast<std::uintptr_t>(region->begin())));
               return result;
             });
}

Job close(Args& args) {
  const double handle = args.number(0, "mapping");
  args.instance().find(handle);
  Instance* instance = &args.instance();
  return job([=] { instance->remove(handle); });
}

Napi::Object touchValue(Napi::Env env, const TouchResult& result, const std::uint8_t* begin) {
  Napi::Object value = Napi::Object::New(env);
  value.Set("done", numberValue(env, result.done));
  value.Set("minorFaults", numberValue(env, result.minorFaults));
  value.Set("majorFaults", numberValue(env, result.majorFaults));
  value.Set("totalNs", numberValue(env, result.totalNs));
  setFault(value, result.fault, begin);
  return value;
}

// touch(mapping, offset, count, stride, access, value, clock, random, seed)
Job touchCall(Args& args) {
  const auto region = args.region(0);
  const std::uint64_t offset = args.size(1, "offset");
  TouchPlan plan{};
  plan.count = args.size(2, "count", kMaxTouches);
  plan.stride = args.size(3, "stride");
  plan.access = static_cast<Access>(valueOf(kAccesses, args.text(4, "access"), "access"));
  plan.value = args.word(5, "value");
  plan.clock = static_cast<Clock>(valueOf(kClocks, args.text(6, "clock"), "clock"));
  plan.random = args.boolean(7, "random");
  plan.seed = args.word(8, "seed");
  if (offset % 8 != 0 || plan.stride % 8 != 0) outOfRange("offset and stride must be multiples of 8");
  if (plan.clock == Clock::Tsc && !hasTsc()) outOfRange("clock tsc is not available on this architecture");
  if (plan.clock != Clock::None && plan.count > kMaxTimed) outOfRange("count of timed accesses must be 2^26 or less");
  if (plan.random && plan.count > kMaxShuffled) outOfRange("count in random order must be 2^26 or less");
  std::uint64_t reach = 0;
  if (plan.count > 0 && (__builtin_mul_overflow(plan.count - 1, plan.stride, &reach) || __builtin_add_overflow(reach, 8, &reach)))
    outOfRange("count * stride is past the end of the mapping");
  plan.span = region->span(offset, reach);

  std::shared_ptr<Owned> samples;
  if (plan.clock != Clock::None) {
    samples = std::make_shared<Owned>(plan.count * sizeof(double));
    plan.samples = samples->data<double>();
  }
  return job([plan] { return touch(plan); },
             [region, samples, count = plan.count](Napi::Env env, const TouchResult& result) {
               Napi::Object value = touchValue(env, result, region->begin());
               if (samples)
                 value.Set("samples", Napi::Float64Array::New(env, count, samples->arrayBuffer(env, count * sizeof(double)), 0));
               return value;
             });
}

Napi::Object progressValue(Napi::Env env, const Progress& progress, const Region& region) {
  Napi::Object value = Napi::Object::New(env);
  value.Set("done", numberValue(env, progress.done));
  setFault(value, progress.fault, region.begin());
  return value;
}

// read(mapping, offset, length)
Job readCall(Args& args) {
  const auto region = args.region(0);
  const Span span = args.span(1, *region);
  if (span.length > kMaxTransfer) outOfRange("length of one read must be less than 2 GiB");
  const auto bytes = std::make_shared<Owned>(span.length);
  return job([span, bytes] { return readOut(span, bytes->data()); },
             [region, bytes](Napi::Env env, const Progress& progress) {
               Napi::Object value = Napi::Object::New(env);
               value.Set("bytes", bytes->buffer(env, progress.done));
               setFault(value, progress.fault, region->begin());
               return value;
             });
}

// write(mapping, offset, bytes)
Job writeCall(Args& args) {
  const auto region = args.region(0);
  const auto bytes = std::make_shared<const std::vector<std::uint8_t>>(args.bytes(2, "bytes"));
  const Span span = region->span(args.size(1, "offset"), bytes->size());
  return job([span, bytes] { return writeIn(span, bytes->data()); },
             [region](Napi::Env env, const Progress& progress) { return progressValue(env, progress, *region); });
}

// fill(mapping, offset, length, byte, seed, base)
Job fillCall(Args& args) {
  const auto region = args.region(0);
  const Span span = args.span(1, *region);
  const Pattern pattern = args.pattern(3);
  requireWords(span, pattern);
  return job([=] { return fill(span, pattern); },
             [region](Napi::Env env, const Progress& progress) { return progressValue(env, progress, *region); });
}

Napi::Object verdictValue(Napi::Env env, const Verdict& verdict, std::uint64_t offset) {
  Napi::Object value = Napi::Object::New(env);
  value.Set("done", numberValue(env, verdict.done));
  value.Set("mismatches", numberValue(env, verdict.mismatches));
  if (verdict.mismatches > 0) {
    Napi::Object first = Napi::Object::New(env);
    first.Set("offset", numberValue(env, offset + verdict.firstOffset));
    first.Set("expected", wordValue(env, verdict.expected));
    first.Set("actual", wordValue(env, verdict.actual));
    if (verdict.misplaced) first.Set("belongsAt", numberValue(env, verdict.belongsAt));
    value.Set("first", first);
  }
  return value;
}

std::uint64_t offsetOf(const Span& span) { return static_cast<std::uint64_t>(span.start - span.guardBegin); }

// verify(mapping, offset, length, byte, seed, base)
Job verifyCall(Args& args) {
  const auto region = args.region(0);
  const Span span = args.span(1, *region);
  const Pattern pattern = args.pattern(3);
  requireWords(span, pattern);
  return job([=] { return verify(span, pattern); },
             [region, span](Napi::Env env, const Verified& verified) {
               Napi::Object value = verdictValue(env, verified.verdict, offsetOf(span));
               setFault(value, verified.fault, region->begin());
               return value;
             });
}

// patternBytes(length, byte, seed, base)
Job patternBytesCall(Args& args) {
  const std::uint64_t length = args.size(0, "length", kMaxTransfer);
  const Pattern pattern = args.pattern(1);
  if (pattern.kind == Pattern::Kind::Words && length % 8 != 0) outOfRange("length must be a multiple of 8 for words");
  const auto bytes = std::make_shared<Owned>(length);
  return job(
      [=] {
        volatile std::size_t done = 0;
        fillPlain(bytes->data(), length, pattern, &done);
      },
      [bytes, length](Napi::Env env) { return bytes->buffer(env, length); });
}

// verifyBytes(bytes, byte, seed, base)
Job verifyBytesCall(Args& args) {
  const auto bytes = std::make_shared<const std::vector<std::uint8_t>>(args.bytes(0, "bytes"));
  const Pattern pattern = args.pattern(1);
  if (pattern.kind == Pattern::Kind::Words && bytes->size() % 8 != 0)
    outOfRange("length must be a multiple of 8 for words");
  return job(
      [=] {
        Verdict verdict;
        verifyPlain(bytes->data(), bytes->size(), pattern, &verdict);
        return verdict;
      },
      [](Napi::Env env, const Verdict& verdict) { return verdictValue(env, verdict, 0); });
}

struct Advised {
  int error;
  Fault fault;
};

// madvise(mapping, offset, length, advice)
Job madviseCall(Args& args) {
  const auto region = args.region(0);
  const Span span = args.span(1, *region);
  const int advice = adviceOf(args.text(3, "advice"));
  return job(
      [=] {
        Advised advised{};
        volatile int error = 0;
        volatile int* errorAt = &error;
        // An injected memory failure is signalled on the way out of madvise itself, when its result stands already.
        advised.fault = guarded(span.guardBegin, span.guardLength, OnFault::Record,
                                [=] { *errorAt = madvise(span.start, span.length, advice) == 0 ? 0 : errno; });
        advised.error = error;
        if (advised.error != 0 && advised.fault.signal == 0) throw SystemFailure{advised.error, "madvise"};
        return advised;
      },
      [region](Napi::Env env, const Advised& advised) {
        Napi::Object value = Napi::Object::New(env);
        setFault(value, advised.fault, region->begin());
        if (advised.error != 0) value.Set("code", codeText(advised.error));
        return value;
      });
}

// msync(mapping, offset, length, how)
Job msyncCall(Args& args) {
  const auto region = args.region(0);
  const Span span = args.span(1, *region);
  const int flags = syncOf(args.text(3, "how"));
  return job([region, span, flags] { check(msync(span.start, span.length, flags), "msync"); });
}

// mprotect(mapping, offset, length, prot)
Job mprotectCall(Args& args) {
  const auto region = args.region(0);
  const Span span = args.span(1, *region);
  const int protection = static_cast<int>(valueOf(kProtections, args.text(3, "prot"), "prot"));
  return job([region, span, protection] { check(mprotect(span.start, span.length, protection), "mprotect"); });
}

// mlock(mapping, offset, length)
Job mlockCall(Args& args) {
  const auto region = args.region(0);
  const Span span = args.span(1, *region);
  return job([region, span] { check(mlock(span.start, span.length), "mlock"); });
}

// munlock(mapping, offset, length)
Job munlockCall(Args& args) {
  const auto region = args.region(0);
  const Span span = args.span(1, *region);
  return job([region, span] { check(munlock(span.start, span.length), "munlock"); });
}

// bindToNode(mapping, offset, length, node)
Job bindToNodeCall(Args& args) {
  const auto region = args.region(0);
  const Span span = args.span(1, *region);
  const std::uint64_t node = args.size(3, "node", kMaxNodes - 1);
  return job([region, span, node] {
    constexpr long kBind = 2;  // MPOL_BIND, include/uapi/linux/mempolicy.h
    unsigned long mask[kMaxNodes / kBitsOfWord] = {};
    mask[node / kBitsOfWord] = 1UL << (node % kBitsOfWord);
    // The kernel takes one bit less than it is told of (mm/mempolicy.c: get_nodes).
    check(syscall(SYS_mbind, span.start, span.length, kBind, mask, kMaxNodes + 1, 0), "mbind");
  });
}

// unmap(mapping, offset, length)
Job unmapCall(Args& args) {
  const auto region = args.region(0);
  const std::uint64_t offset = args.size(1, "offset");
  const std::uint64_t length = args.size(2, "length");
  return job([=] { region->unmap(offset, length); });
}

// remapOnto(mapping, offset, length, target, targetOffset)
Job remapOntoCall(Args& args) {
  const auto region = args.region(0);
  const std::uint64_t offset = args.size(1, "offset");
  const std::uint64_t length = args.size(2, "length");
  const auto target = args.region(3);
  const std::uint64_t targetOffset = args.size(4, "targetOffset");
  if (length == 0) outOfRange("length must not be 0");
  return job([=] { region->moveOnto(offset, length, *target, targetOffset); });
}

Napi::Number transferred(Napi::Env env, ssize_t count) { return numberValue(env, count); }

// readFrom(mapping, fd, fileOffset, offset, length)
Job readFromCall(Args& args) {
  const auto region = args.region(0);
  const int fd = args.fd(1);
  const auto fileOffset = static_cast<off_t>(args.size(2, "fileOffset"));
  const Span span = args.span(3, *region);
  return job(
      [=] {
        return check(retryInterrupted([&] { return pread(fd, span.start, span.length, fileOffset); }), "pread");
      },
      transferred);
}

// writeTo(mapping, fd, fileOffset, offset, length)
Job writeToCall(Args& args) {
  const auto region = args.region(0);
  const int fd = args.fd(1);
  const auto fileOffset = static_cast<off_t>(args.size(2, "fileOffset"));
  const Span span = args.span(3, *region);
  return job(
      [=] {
        return check(retryInterrupted([&] { return pwrite(fd, span.start, span.length, fileOffset); }), "pwrite");
      },
      transferred);
}

// ringTransfer(mapping, fd, fileOffset, offset, length, write, registered, parts)
Job ringTransferCall(Args& args) {
  const auto region = args.region(0);
  const int fd = args.fd(1);
  const std::uint64_t fileOffset = args.size(2, "fileOffset");
  const Span span = args.span(3, *region);
  if (span.length > kMaxTransfer) outOfRange("length of one transfer must be less than 2 GiB");
  const std::uint64_t parts = args.size(7, "parts", kMaxRingParts);
  if (parts == 0) outOfRange("parts must be 1 at the least");
  const RingTransfer transfer{span, fd, fileOffset, args.boolean(5, "write"), args.boolean(6, "registered"), static_cast<unsigned>(parts)};
  return job([transfer] { return ringTransfer(transfer); }, [](Napi::Env env, std::uint64_t moved) { return numberValue(env, moved); });
}

Napi::Object forkValue(Napi::Env env, const ForkResult& result, const Span& span) {
  Napi::Object value = verdictValue(env, result.verdict, offsetOf(span));
  value.Set("done", numberValue(env, result.done));
  value.Set("forkNs", numberValue(env, result.forkNs));
  value.Set("finished", Napi::Boolean::New(env, result.finished));
  value.Set("exitSignal", numberValue(env, result.exitSignal));
  setFault(value, result.fault, span.guardBegin);
  return value;
}

// forkVerify(mapping, offset, length, byte, seed, base), and forkWrite the same
template <ForkResult (*inChild)(const Span&, const Pattern&)>
Job forkCall(Args& args) {
  const auto region = args.region(0);
  const Span span = args.span(1, *region);
  const Pattern pattern = args.pattern(3);
  requireWords(span, pattern);
  return job([=] { return inChild(span, pattern); },
             [region, span](Napi::Env env, const ForkResult& result) { return forkValue(env, result, span); });
}

// pagemapScan(mapping, offset, length)
Job pagemapScanCall(Args& args) {
  const auto region = args.region(0);
  const Span span = args.span(1, *region);
  const auto start = reinterpret_cast<std::uintptr_t>(span.start);
  return job([=] { return pagemapScan(start, start + span.length); },
             [region](Napi::Env env, const std::vector<ScannedRange>& ranges) {
               const auto begin = reinterpret_cast<std::uintptr_t>(region->begin());
               Napi::Array array = Napi::Array::New(env, ranges.size());
               for (std::size_t i = 0; i < ranges.size(); ++i) {
                 Napi::Object range = Napi::Object::New(env);
                 range.Set("offset", numberValue(env, ranges[i].start - begin));
                 range.Set("length", numberValue(env, ranges[i].end - ranges[i].start));
                 range.Set("categories", numberValue(env, ranges[i].categories));
                 array.Set(static_cast<std::uint32_t>(i), range);
               }
               return array;
             });
}

}  // namespace

int shareOf(std::string_view name) { return static_cast<int>(valueOf(kShares, name, "share")); }
int adviceOf(std::string_view name) { return static_cast<int>(valueOf(kAdvice, name, "advice")); }
int syncOf(std::string_view name) { return static_cast<int>(valueOf(kSyncs, name, "how")); }

void exportMapping(const Exports& exports) {
  exports.now.Set("pageSize", numberValue(exports.now.Env(), pageSize()));
  onlyNow<map>(exports, "map");
  onlyNow<close>(exports, "close");
  both<touchCall>(exports, "touch");
  both<readCall>(exports, "read");
  both<writeCall>(exports, "write");
  both<fillCall>(exports, "fill");
  both<verifyCall>(exports, "verify");
  both<patternBytesCall>(exports, "patternBytes");
  both<verifyBytesCall>(exports, "verifyBytes");
  both<madviseCall>(exports, "madvise");
  both<msyncCall>(exports, "msync");
  both<mprotectCall>(exports, "mprotect");
  both<mlockCall>(exports, "mlock");
  both<munlockCall>(exports, "munlock");
  both<bindToNodeCall>(exports, "bindToNode");
  both<unmapCall>(exports, "unmap");
  onlyNow<remapOntoCall>(exports, "remapOnto");
  both<readFromCall>(exports, "readFrom");
  both<writeToCall>(exports, "writeTo");
  both<ringTransferCall>(exports, "ringTransfer");
  both<forkCall<forkVerify>>(exports, "forkVerify");
  both<forkCall<forkWrite>>(exports, "forkWrite");
  both<pagemapScanCall>(exports, "pagemapScan");
}

}  // namespace daxrig

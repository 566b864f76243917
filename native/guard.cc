#include "guard.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <mutex>

namespace daxrig {
namespace {

// initial-exec: reading it in the handler must not call into the dynamic linker, which may allocate.
__attribute__((tls_model("initial-exec"))) thread_local detail::Scope* innermost = nullptr;
__attribute__((tls_model("initial-exec"))) thread_local bool unblocked = false;

struct sigaction previousBus;
struct sigaction previousSegv;

// A system call body meets at most one forced signal per call; more means that the body itself faults, again and again.
constexpr unsigned kRecordedLimit = 16;

constexpr std::uint64_t kRingSize = 256;
struct RingEntry {
  std::atomic<std::uint64_t> ticket;  // position + 1 once the entry is complete
  OptionalSignal signal;
};
RingEntry ring[kRingSize];
std::atomic<std::uint64_t> ringHead{0};
std::uint64_t ringTail = 0;
std::mutex ringReader;
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

void recordOptional(const siginfo_t* info) noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const std::uint64_t position = ringHead.fetch_add(1, std::memory_order_relaxed);
  RingEntry& entry = ring[position % kRingSize];
  entry.ticket.store(0, std::memory_order_release);
  entry.signal = {reinterpret_cast<std::uintptr_t>(info->si_addr), info->si_addr_lsb, static_cast<int>(syscall(SYS_gettid)),
                  std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec};
  entry.ticket.store(position + 1, std::memory_order_release);
}

/** Memory failures name the lost block by any address in it, so the whole block counts. */
bool inRange(const detail::Scope& scope, const Fault& fault) noexcept {
  if (fault.lsb > 0 && fault.lsb < 48) {
    const std::uintptr_t size = std::uintptr_t{1} << fault.lsb;
    const std::uintptr_t first = fault.address & ~(size - 1);
    return first < scope.begin + scope.length && scope.begin < first + size;
  }
  return fault.address - scope.begin < scope.length;
}

void chain(int number, siginfo_t* info, void* context) noexcept {
  const struct sigaction& previous = number == SIGBUS ? previousBus : previousSegv;
  // By kill(2) and friends, or a memory failure that no access of ours ran into: no repeated access would bring it again.
  const bool sent = info->si_code <= 0;
  const bool repeats = !sent && !(number == SIGBUS && info->si_code == BUS_MCEERR_AR);
  if (!(previous.sa_flags & SA_SIGINFO) && (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN)) {
    if (sent && previous.sa_handler == SIG_IGN) return;
    struct sigaction byDefault {};
    byDefault.sa_handler = SIG_DFL;
    sigaction(number, &byDefault, nullptr);
    if (!repeats) raise(number);
    return;  // a fault: its access is repeated, and ends the process with the original signal and address
  }
  sigset_t blocked = previous.sa_mask;
  if (!(previous.sa_flags & SA_NODEFER)) sigaddset(&blocked, number);
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, &blocked, &before);
  if (previous.sa_flags & SA_SIGINFO)
    previous.sa_sigaction(number, info, context);
  else
    previous.sa_handler(number);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void onSignal(int number, siginfo_t* info, void* context) {
  const int savedErrno = errno;
  if (number == SIGBUS && info->si_code == BUS_MCEERR_AO) {
    recordOptional(info);
    errno = savedErrno;
    return;
  }
  if (info->si_code > 0) {
    Fault fault;
    fault.signal = number;
    fault.code = info->si_code;
    fault.address = reinterpret_cast<std::uintptr_t>(info->si_addr);
    if (number == SIGBUS && info->si_code == BUS_MCEERR_AR) fault.lsb = info->si_addr_lsb;
    for (detail::Scope* scope = innermost; scope != nullptr; scope = scope->outer) {
      if (!inRange(*scope, fault)) continue;
      if (scope->recorded == 0) scope->fault = fault;
      if (scope->onFault == OnFault::Record && ++scope->recorded < kRecordedLimit) {
        errno = savedErrno;
        return;
      }
      innermost = scope;
      siglongjmp(scope->resume, 1);
    }
  }
  chain(number, info, context);
  errno = savedErrno;
}

void install(int number, struct sigaction& previous) {
  // Read before it is replaced, so that a fault in between finds a complete previous handler.
  sigaction(number, nullptr, &previous);
  struct sigaction ours {};
  ours.sa_sigaction = onSignal;
  // SA_NODEFER: a jump leaves the handler for good, and must not leave the signal blocked. SA_ONSTACK: for threads that have
  // a signal stack, as V8's WebAssembly threads may.
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigemptyset(&ours.sa_mask);
  sigaction(number, &ours, nullptr);
}

}  // namespace

namespace detail {

// The scope belongs to the caller, so that nothing local to this frame changes between sigsetjmp and the jump back.
void run(Scope* scope, Body body, void* context) noexcept {
  scope->outer = innermost;
  if (sigsetjmp(scope->resume, 0) == 0) {
    innermost = scope;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    body(context);
  }
  std::atomic_signal_fence(std::memory_order_seq_cst);
  innermost = scope->outer;
}

}  // namespace detail

void installGuard() {
  static std::once_flag once;
  std::call_once(once, [] {
    install(SIGBUS, previousBus);
    install(SIGSEGV, previousSegv);
  });
}

void unblockFaultSignals() noexcept {
  if (unblocked) return;
  sigset_t faults;
  sigemptyset(&faults);
  sigaddset(&faults, SIGBUS);
  sigaddset(&faults, SIGSEGV);
  pthread_sigmask(SIG_UNBLOCK, &faults, nullptr);
  unblocked = true;
}

std::uint64_t drainOptionalSignals(std::vector<OptionalSignal>& into) {
  const std::lock_guard<std::mutex> lock(ringReader);
  const std::uint64_t head = ringHead.load(std::memory_order_acquire);
  std::uint64_t lost = 0;
  if (head - ringTail > kRingSize) {
    lost = head - ringTail - kRingSize;
    ringTail = head - kRingSize;
  }
  for (; ringTail < head; ++ringTail) {
    const RingEntry& entry = ring[ringTail % kRingSize];
    if (entry.ticket.load(std::memory_order_acquire) != ringTail + 1) {
      ++lost;
      continue;
    }
    const OptionalSignal copy = entry.signal;
    std::atomic_thread_fence(std::memory_order_acquire);
    if (entry.ticket.load(std::memory_order_relaxed) == ringTail + 1)
      into.push_back(copy);
    else
      ++lost;
  }
  return lost;
}

}  // namespace daxrig

// The fault guard alone, in a process of its own: what cannot be provoked through the addon. Each case runs in a child, since
// some must die. Prints one line per case that fails; built and run by guard.test.ts.
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <thread>
#include <vector>

#include "../../native/guard.h"

using daxrig::Fault;
using daxrig::guarded;
using daxrig::OnFault;

namespace {

constexpr std::size_t kPage = 4096;
const char* failure = nullptr;
#define EXPECT(condition) \
  if (!(condition) && failure == nullptr) failure = #condition

char* inaccessible(std::size_t pages) {
  return static_cast<char*>(mmap(nullptr, pages * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}
void load(const char* at) { (void)*static_cast<const volatile char*>(at); }

/** Sends this thread a signal with the siginfo that the kernel would have made. */
void pretend(int code, const void* address, int lsb) {
  siginfo_t info{};
  info.si_signo = SIGBUS;
  info.si_code = code;
  info.si_addr = const_cast<void*>(address);
  info.si_addr_lsb = static_cast<short>(lsb);
  syscall(SYS_rt_tgsigqueueinfo, getpid(), static_cast<pid_t>(syscall(SYS_gettid)), SIGBUS, &info);
}

void returnsTheFault() {
  daxrig::installGuard();
  char* memory = inaccessible(2);
  for (int round = 0; round < 3; ++round) {
    const Fault fault = guarded(memory, 2 * kPage, OnFault::Jump, [=] { load(memory + kPage + 8); });
    EXPECT(fault.signal == SIGSEGV && fault.code == SEGV_ACCERR);
    EXPECT(fault.address == reinterpret_cast<std::uintptr_t>(memory) + kPage + 8);
  }
  EXPECT(guarded(memory, kPage, OnFault::Jump, [] {}).signal == 0);
}

void innerRangeWins() {
  daxrig::installGuard();
  char* outer = inaccessible(1);
  char* inner = inaccessible(1);
  volatile int reached = 0;
  volatile int* at = &reached;
  const Fault fault = guarded(outer, kPage, OnFault::Jump, [=] {
    const Fault within = guarded(inner, kPage, OnFault::Jump, [=] { load(inner); });
    *at = within.signal == SIGSEGV ? 1 : -1;
    load(outer);
    *at = -2;
  });
  EXPECT(reached == 1);
  EXPECT(fault.address == reinterpret_cast<std::uintptr_t>(outer));
}

void outerRangeIsReachedFromWithin() {
  daxrig::installGuard();
  char* outer = inaccessible(1);
  char* inner = inaccessible(1);
  volatile int reached = 0;
  volatile int* at = &reached;
  const Fault fault = guarded(outer, kPage, OnFault::Jump, [=] {
    guarded(inner, kPage, OnFault::Jump, [=] { load(outer); });
    *at = 1;  // never: the fault unwound both
  });
  EXPECT(reached == 0);
  EXPECT(fault.address == reinterpret_cast<std::uintptr_t>(outer));
  // The scopes are gone: the same address is now nobody's, and the inner one's as well.
  EXPECT(guarded(inner, kPage, OnFault::Jump, [=] { load(inner); }).signal == SIGSEGV);
}

void threadsDoNotMix() {
  daxrig::installGuard();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([] {
      char* memory = inaccessible(1);
      for (int round = 0; round < 2000; ++round)
        EXPECT(guarded(memory, kPage, OnFault::Jump, [=] { load(memory); }).address == reinterpret_cast<std::uintptr_t>(memory));
    });
  for (std::thread& thread : threads) thread.join();
}

void blockedSignalsAreUnblocked() {
  daxrig::installGuard();
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  daxrig::unblockFaultSignals();
  char* memory = inaccessible(1);
  EXPECT(guarded(memory, kPage, OnFault::Jump, [=] { load(memory); }).signal == SIGSEGV);
}

void* volatile chained = nullptr;
char* volatile chainedPage = nullptr;
volatile int chainedWith = 0;
void repair(int number, siginfo_t* info, void*) {
  chained = info->si_addr;
  chainedWith = number;
  mprotect(chainedPage, kPage, PROT_READ);
}

void chainsToTheHandlerItFound() {
  struct sigaction previous {};
  previous.sa_sigaction = repair;
  previous.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &previous, nullptr);
  daxrig::installGuard();
  chainedPage = inaccessible(1);
  char* own = inaccessible(1);
  load(chainedPage);
  EXPECT(chained == chainedPage && chainedWith == SIGSEGV);
  chained = nullptr;
  mprotect(chainedPage, kPage, PROT_NONE);
  // In a scope, but not in its range: still the other's.
  EXPECT(guarded(own, kPage, OnFault::Jump, [] { load(chainedPage); }).signal == 0);
  EXPECT(chained == chainedPage);
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  EXPECT(!sigismember(&mask, SIGSEGV));
}

volatile sig_atomic_t plainHandled = 0;
void plain(int) { plainHandled = plainHandled + 1; }

void chainsSentSignals() {
  signal(SIGBUS, plain);
  daxrig::installGuard();
  raise(SIGBUS);
  EXPECT(plainHandled == 1);
  char* memory = inaccessible(1);
  EXPECT(guarded(memory, kPage, OnFault::Jump, [] { raise(SIGBUS); }).signal == 0);
  EXPECT(plainHandled == 2);
}

void sentSignalsStayIgnored() {
  signal(SIGBUS, SIG_IGN);
  daxrig::installGuard();
  raise(SIGBUS);
}

void diesOutsideOfRanges() {
  daxrig::installGuard();
  load(inaccessible(1));
}
void diesOfSentSignals() {
  daxrig::installGuard();
  raise(SIGBUS);
}
void diesOfForeignRequiredSignals() {
  daxrig::installGuard();
  char* memory = inaccessible(2);
  guarded(memory, kPage, OnFault::Jump, [=] { pretend(BUS_MCEERR_AR, memory + kPage, 12); });
}

void requiredSignalsInCallsAreNoted() {
  daxrig::installGuard();
  char* memory = inaccessible(4);
  volatile int after = 0;
  volatile int* at = &after;
  const Fault fault = guarded(memory, 4 * kPage, OnFault::Record, [=] {
    pretend(BUS_MCEERR_AR, memory + 2 * kPage, 12);
    *at = 1;
  });
  EXPECT(after == 1);
  EXPECT(fault.signal == SIGBUS && fault.code == BUS_MCEERR_AR && fault.lsb == 12);
  EXPECT(fault.address == reinterpret_cast<std::uintptr_t>(memory) + 2 * kPage);
}

void requiredSignalsInAccessesJump() {
  daxrig::installGuard();
  char* memory = inaccessible(1);
  volatile int after = 0;
  volatile int* at = &after;
  const Fault fault = guarded(memory, kPage, OnFault::Jump, [=] {
    pretend(BUS_MCEERR_AR, memory, 12);
    *at = 1;
  });
  EXPECT(after == 0);
  EXPECT(fault.code == BUS_MCEERR_AR);
}

void lostBlocksCountAsAWhole() {
  daxrig::installGuard();
  // 2 MiB lost, named by their first byte; the mapping is a part of them.
  char* memory = inaccessible(1024);
  auto block = (reinterpret_cast<std::uintptr_t>(memory) + (2u << 20) - 1) & ~std::uintptr_t{(2u << 20) - 1};
  const char* part = reinterpret_cast<char*>(block + kPage);
  const Fault fault = guarded(part, kPage, OnFault::Jump, [=] { pretend(BUS_MCEERR_AR, part - kPage, 21); });
  EXPECT(fault.lsb == 21 && fault.address == block);
}

void realFaultsInCallsEnd() {
  daxrig::installGuard();
  char* memory = inaccessible(1);
  EXPECT(guarded(memory, kPage, OnFault::Record, [=] { load(memory); }).signal == SIGSEGV);
}

void optionalSignalsAreKept() {
  daxrig::installGuard();
  char* memory = inaccessible(1);
  volatile int after = 0;
  volatile int* at = &after;
  EXPECT(guarded(memory, kPage, OnFault::Jump, [=] {
           pretend(BUS_MCEERR_AO, memory, 12);
           *at = 1;
         }).signal == 0);
  EXPECT(after == 1);
  pretend(BUS_MCEERR_AO, memory + 8, 21);
  std::vector<daxrig::OptionalSignal> signals;
  EXPECT(daxrig::drainOptionalSignals(signals) == 0);
  EXPECT(signals.size() == 2);
  if (signals.size() == 2) {
    EXPECT(signals[0].address == reinterpret_cast<std::uintptr_t>(memory) && signals[0].lsb == 12);
    EXPECT(signals[1].address == reinterpret_cast<std::uintptr_t>(memory) + 8 && signals[1].lsb == 21);
    EXPECT(signals[0].thread == getpid() && signals[0].timeNs <= signals[1].timeNs);
  }
  signals.clear();
  EXPECT(daxrig::drainOptionalSignals(signals) == 0 && signals.empty());
}

void ringKeepsTheNewest() {
  daxrig::installGuard();
  for (std::uintptr_t i = 1; i <= 300; ++i) pretend(BUS_MCEERR_AO, reinterpret_cast<void*>(i * kPage), 12);
  std::vector<daxrig::OptionalSignal> signals;
  EXPECT(daxrig::drainOptionalSignals(signals) == 44);
  EXPECT(signals.size() == 256);
  EXPECT(!signals.empty() && signals.front().address == 45 * kPage && signals.back().address == 300 * kPage);
}

struct Case {
  const char* name;
  void (*run)();
  int diesOf;
};
constexpr Case kCases[] = {
    {"returns the fault", returnsTheFault, 0},
    {"inner range wins", innerRangeWins, 0},
    {"outer range is reached from within", outerRangeIsReachedFromWithin, 0},
    {"threads do not mix", threadsDoNotMix, 0},
    {"blocked signals are unblocked", blockedSignalsAreUnblocked, 0},
    {"chains to the handler it found", chainsToTheHandlerItFound, 0},
    {"chains sent signals", chainsSentSignals, 0},
    {"sent signals stay ignored", sentSignalsStayIgnored, 0},
    {"dies outside of ranges", diesOutsideOfRanges, SIGSEGV},
    {"dies of sent signals", diesOfSentSignals, SIGBUS},
    {"dies of foreign required signals", diesOfForeignRequiredSignals, SIGBUS},
    {"required signals in calls are noted", requiredSignalsInCallsAreNoted, 0},
    {"required signals in accesses jump", requiredSignalsInAccessesJump, 0},
    {"lost blocks count as a whole", lostBlocksCountAsAWhole, 0},
    {"real faults in calls end", realFaultsInCallsEnd, 0},
    {"optional signals are kept", optionalSignalsAreKept, 0},
    {"ring keeps the newest", ringKeepsTheNewest, 0},
};

}  // namespace

int main() {
  int failed = 0;
  for (const Case& test : kCases) {
    std::fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
      alarm(10);
      test.run();
      if (failure != nullptr) std::fprintf(stdout, "%s: %s\n", test.name, failure);
      std::fflush(stdout);
      _exit(failure != nullptr ? 1 : 0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    const int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (signal != test.diesOf) std::fprintf(stdout, "%s: ended by signal %d, not %d\n", test.name, signal, test.diesOf);
    failed += signal != test.diesOf || (signal == 0 && WEXITSTATUS(status) != 0);
  }
  std::fprintf(stdout, "%zu cases, %d failed\n", sizeof kCases / sizeof kCases[0], failed);
  return failed == 0 ? 0 : 1;
}

#include "forked.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "errors.h"
#include "program.h"

namespace daxrig {
namespace {

/** Lives in shared memory, so that what the child found is there even if the child died. */
struct Report {
  volatile bool finished;
  volatile std::size_t done;
  volatile Verdict verdict;
  Fault fault;
};

class SharedReport {
 public:
  SharedReport()
      : report_(static_cast<Report*>(
            check(mmap(nullptr, sizeof(Report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), "mmap"))) {}
  ~SharedReport() { munmap(report_, sizeof(Report)); }
  SharedReport(const SharedReport&) = delete;
  SharedReport& operator=(const SharedReport&) = delete;
  Report* get() const { return report_; }

 private:
  Report* report_;
};

Verdict plain(const volatile Verdict& from) {
  Verdict to;
  to.done = from.done;
  to.mismatches = from.mismatches;
  to.firstOffset = from.firstOffset;
  to.expected = from.expected;
  to.actual = from.actual;
  to.misplaced = from.misplaced;
  to.belongsAt = from.belongsAt;
  return to;
}

/**
 * The system call, not fork(): no handlers of libraries run in a process that has only one of its threads left, the time is the
 * kernel's alone, and no SIGCHLD wakes Node's event loop (but for a child that becomes another program, which execve(2) gives one).
 */
pid_t bareFork() { return check(static_cast<pid_t>(syscall(SYS_clone, 0, 0, 0, 0, 0)), "fork"); }

/** Runs work(report) in a child. */
template <class Work>
ForkResult inChild(const Span& span, Work work) {
  const SharedReport shared;
  Report* report = shared.get();
  const std::int64_t started = nanoseconds(CLOCK_MONOTONIC_RAW);
  const pid_t child = bareFork();
  if (child == 0) {
    report->fault = guarded(span.guardBegin, span.guardLength, OnFault::Jump, [=] { work(report); });
    report->finished = true;
    for (;;) syscall(SYS_exit_group, 0);
  }
  ForkResult result;
  result.forkNs = nanoseconds(CLOCK_MONOTONIC_RAW) - started;
  const int status = awaitChild(child);
  result.finished = report->finished;
  result.exitSignal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  result.done = report->done;
  result.verdict = plain(report->verdict);
  result.fault = report->fault;
  return result;
}

}  // namespace

ForkResult forkVerify(const Span& span, const Pattern& pattern) {
  ForkResult result = inChild(span, [=](Report* report) { verifyPlain(span.start, span.length, pattern, &report->verdict); });
  result.done = result.verdict.done;
  return result;
}

ForkResult forkWrite(const Span& span, const Pattern& pattern) {
  return inChild(span, [=](Report* report) { fillPlain(span.start, span.length, pattern, &report->done); });
}

int forkExec(const std::string& path) {
  check(access(path.c_str(), X_OK), "access");
  char* const words[] = {const_cast<char*>(path.c_str()), nullptr};
  const pid_t child = bareFork();
  if (child == 0) {
    execve(words[0], words, environ);
    for (;;) syscall(SYS_exit_group, 127);
  }
  return awaitChild(child);
}

}  // namespace daxrig

#include "program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>

namespace daxrig {
namespace {

struct Pipe {
  std::array<int, 2> ends = open();
  Fd read{ends[0]};
  Fd write{ends[1]};

  static std::array<int, 2> open() {
    std::array<int, 2> ends{};
    check(pipe2(ends.data(), O_CLOEXEC), "pipe2");
    return ends;
  }
};

struct Attributes {
  posix_spawnattr_t value;
  Attributes() {
    posix_spawnattr_init(&value);
    // Node ignores SIGPIPE, and a child would inherit that; its threads block signals.
    sigset_t set;
    sigfillset(&set);
    posix_spawnattr_setsigdefault(&value, &set);
    sigemptyset(&set);
    posix_spawnattr_setsigmask(&value, &set);
    posix_spawnattr_setflags(&value, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  }
  ~Attributes() { posix_spawnattr_destroy(&value); }
};

struct Actions {
  posix_spawn_file_actions_t value;
  /** Standard input, output and error; an input of -1 has nothing to read, an error of -1 stays this process's. */
  Actions(int in, int out, int err) {
    posix_spawn_file_actions_init(&value);
    if (in < 0) posix_spawn_file_actions_addopen(&value, 0, "/dev/null", O_RDONLY, 0);
    else posix_spawn_file_actions_adddup2(&value, in, 0);
    posix_spawn_file_actions_adddup2(&value, out, 1);
    if (err >= 0) posix_spawn_file_actions_adddup2(&value, err, 2);
  }
  ~Actions() { posix_spawn_file_actions_destroy(&value); }
};

pid_t start(const std::string& path, const std::vector<std::string>& args, const Actions& actions) {
  std::vector<char*> words{const_cast<char*>(path.c_str())};
  for (const std::string& arg : args) words.push_back(const_cast<char*>(arg.c_str()));
  words.push_back(nullptr);
  const Attributes attributes;
  pid_t pid = 0;
  const int error = posix_spawn(&pid, path.c_str(), &actions.value, &attributes.value, words.data(), environ);
  if (error != 0) throw SystemFailure{error, "posix_spawn"};
  return pid;
}

/** Appends what there is; false at the end. */
bool take(Fd& from, std::string& to) {
  std::array<char, 64 * 1024> chunk;
  const ssize_t count = retryInterrupted([&] { return read(from.get(), chunk.data(), chunk.size()); });
  if (count <= 0) return false;
  to.append(chunk.data(), static_cast<std::size_t>(count));
  return true;
}

}  // namespace

ProgramEnd runProgram(const std::string& path, const std::vector<std::string>& args, const ProgramLimits& limits) {
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + std::chrono::milliseconds(limits.timeoutMs);
  ProgramEnd end{-1, 0, ProgramEnd::Killed::No, {}, {}};
  Pipe out, err;
  const pid_t pid = start(path, args, Actions(-1, out.write.get(), err.write.get()));
  out.write.reset();
  err.write.reset();
  const auto kill = [&](ProgramEnd::Killed why) {
    end.killed = why;
    ::kill(pid, SIGKILL);
  };
  while (end.killed == ProgramEnd::Killed::No && (out.read.get() >= 0 || err.read.get() >= 0)) {
    // poll() passes over negative descriptors.
    std::array<pollfd, 2> ready{{{out.read.get(), POLLIN, 0}, {err.read.get(), POLLIN, 0}}};
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    const int count = left <= 0 ? 0 : retryInterrupted([&] { return poll(ready.data(), ready.size(), static_cast<int>(left)); });
    if (count <= 0) {
      kill(ProgramEnd::Killed::Timeout);
      break;
    }
    if (ready[0].revents != 0 && !take(out.read, end.out)) out.read.reset();
    if (ready[1].revents != 0 && !take(err.read, end.err)) err.read.reset();
    if (end.out.size() > limits.maxBytes || end.err.size() > limits.maxBytes) kill(ProgramEnd::Killed::Output);
  }
  const int status = awaitChild(pid);
  if (WIFEXITED(status)) end.status = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) end.signal = WTERMSIG(status);
  return end;
}

Companion startCompanion(const std::string& path, const std::vector<std::string>& args) {
  std::array<int, 2> ends{};
  check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), "socketpair");
  Fd ours{ends[0]}, theirs{ends[1]};
  const pid_t pid = start(path, args, Actions(theirs.get(), theirs.get(), -1));
  return {pid, std::move(ours)};
}

std::optional<std::string> askCompanion(int socket, const std::string& line) {
  const std::string request = line + '\n';
  for (std::size_t sent = 0; sent < request.size();) {
    const ssize_t count = retryInterrupted([&] { return send(socket, request.data() + sent, request.size() - sent, MSG_NOSIGNAL); });
    if (count == -1 && (errno == EPIPE || errno == ECONNRESET)) return std::nullopt;
    sent += static_cast<std::size_t>(check(count, "send"));
  }
  std::string answer;
  std::array<char, 4096> chunk;
  while (answer.empty() || answer.back() != '\n') {
    const ssize_t count = retryInterrupted([&] { return recv(socket, chunk.data(), chunk.size(), 0); });
    if (count == 0 || (count == -1 && errno == ECONNRESET)) return std::nullopt;
    answer.append(chunk.data(), static_cast<std::size_t>(check(count, "recv")));
  }
  answer.pop_back();
  return answer;
}

void killCompanion(int pid) {
  siginfo_t found;
  check(waitid(P_PID, static_cast<id_t>(pid), &found, WEXITED | WNOHANG | WNOWAIT), "waitid");  // none but children of this process
  kill(pid, SIGKILL);  // one that has ended stays there until it is waited for
}

int awaitChild(int pid) {
  int status = 0;
  check(retryInterrupted([&] { return waitpid(pid, &status, __WALL); }), "waitpid");
  return status;
}

}  // namespace daxrig

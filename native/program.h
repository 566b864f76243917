// Other programs, run to their end. Node's own way needs its streams and sockets first, which take a quarter of a second to
// come to life in an emulated guest, in every copy anew.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace daxrig {

struct ProgramLimits {
  /** Milliseconds; past them it is killed. */
  long timeoutMs;
  /** Of each output, bytes; past them it is killed. */
  std::size_t maxBytes;
};

struct ProgramEnd {
  int status;  // -1 when a signal ended it
  int signal;  // 0 when none did
  enum class Killed { No, Timeout, Output } killed;
  std::string out;
  std::string err;
};

/** Runs `path` with `args` after its own name, this process's environment, and no input. SystemFailure when it does not start. */
ProgramEnd runProgram(const std::string& path, const std::vector<std::string>& args, const ProgramLimits& limits);

}  // namespace daxrig

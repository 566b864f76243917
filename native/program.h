// Other programs, run to their end or beside this one. Node's own way needs its streams and sockets first, which take a quarter of a second to
// come to life in an emulated guest, in every copy anew.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "fd.h"

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

/** A program that goes on beside this one, with one end of a stream socket as its standard input and output. */
struct Companion {
  int pid;
  Fd socket;
};
/** It is ended by killCompanion, and waited for by awaitChild alone. SystemFailure when it does not start. */
Companion startCompanion(const std::string& path, const std::vector<std::string>& args);
/** Sends a line and waits for the one that comes back, both without their ends; nothing when the companion has ended instead. */
std::optional<std::string> askCompanion(int socket, const std::string& line);
/** Ends it, unless it has ended by itself. SystemFailure for what is no child of this process. */
void killCompanion(int pid);
/** Waits until a child of this process, be it one of bare clone(2), is gone: its wait status. */
int awaitChild(int pid);

/** Runs `path` with `args` after its own name, this process's environment, and no input. SystemFailure when it does not start. */
ProgramEnd runProgram(const std::string& path, const std::vector<std::string>& args, const ProgramLimits& limits);

}  // namespace daxrig

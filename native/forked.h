// What a forked child does: checks and writes, after which it _exits, or another program.
#pragma once

#include <string>

#include "access.h"

namespace daxrig {

struct ForkResult {
  std::int64_t forkNs = 0;   // the clone call as the parent sees it, CLOCK_MONOTONIC_RAW
  bool finished = false;     // the child got to its end
  int exitSignal = 0;        // that ended the child, if one did
  std::size_t done = 0;      // bytes
  Verdict verdict;           // of forkVerify
  Fault fault;               // the child's
};

ForkResult forkVerify(const Span& span, const Pattern& pattern);
ForkResult forkWrite(const Span& span, const Pattern& pattern);
/** A forked child, with copies of all mappings, becomes another program: its wait status. SystemFailure when it is not there or not
 * executable; 127 of exit when it cannot be run. */
int forkExec(const std::string& path);

}  // namespace daxrig

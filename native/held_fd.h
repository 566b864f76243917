// Descriptors for programs that run on another thread.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include "errors.h"

namespace daxrig {

/** A descriptor of our own: the caller may close the one it came from while the program runs. */
class HeldFd {
 public:
  explicit HeldFd(int of) : fd_(check(fcntl(of, F_DUPFD_CLOEXEC, 3), "fcntl(F_DUPFD_CLOEXEC)")) {}
  ~HeldFd() { close(fd_); }
  HeldFd(const HeldFd&) = delete;
  HeldFd& operator=(const HeldFd&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace daxrig

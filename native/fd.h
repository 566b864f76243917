// A descriptor that is closed with its owner.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "errors.h"

namespace daxrig {

class Fd {
 public:
  /** Takes an open descriptor over. */
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }

  /** Another one for the same open file: for work on another thread, while the caller may close its own. */
  static Fd duplicate(int of) { return Fd(check(fcntl(of, F_DUPFD_CLOEXEC, 3), "fcntl(F_DUPFD_CLOEXEC)")); }

  int get() const { return fd_; }
  /** Gives it away, open. */
  int release() { return std::exchange(fd_, -1); }
  /** Closes it now. */
  void reset() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
};

}  // namespace daxrig

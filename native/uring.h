// Transfers between memory and files by io_uring, by its system calls alone.
#pragma once

#include <cstdint>

#include "access.h"

namespace daxrig {

struct RingTransfer {
  Span span;
  int fd = -1;
  std::uint64_t fileOffset = 0;
  bool write = false;       // from memory to the file
  bool registered = false;  // the memory is registered first, which pins its pages for as long as the ring lives
  unsigned parts = 1;       // requests that are submitted at once, each for its share
};

constexpr unsigned kMaxRingParts = 256;

/** Bytes moved by all requests together. Throws SystemFailure: io_uring_setup where the kernel has none, or refuses it. */
std::uint64_t ringTransfer(const RingTransfer& transfer);

}  // namespace daxrig

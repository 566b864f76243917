// A range of addresses that stays ours from map to close, whatever is unmapped or moved inside it meanwhile.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "access.h"

namespace daxrig {

struct MapRequest {
  int fd = -1;  // -1: anonymous
  std::size_t length = 0;
  std::uint64_t fileOffset = 0;
  int protection = 0;
  int flags = 0;              // MAP_*, never MAP_FIXED
  std::size_t align = 0;      // 0: where the kernel likes; else a power of two
  std::size_t alignSkew = 0;  // the address is this much past a multiple of align
};

class Region {
 public:
  /** Maps, or throws SystemFailure. */
  static std::shared_ptr<Region> map(const MapRequest& request);
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  std::uint8_t* begin() const { return begin_; }
  std::size_t length() const { return length_; }

  /** The part [offset, offset + length); throws BadArgument past the end, SystemFailure EFAULT where it is no longer ours. */
  Span span(std::uint64_t offset, std::uint64_t length) const;

  /** Unmaps a part. An inaccessible reservation takes its place in the same step, so that nobody else can map there. */
  void unmap(std::uint64_t offset, std::uint64_t length);

  /** mremap(2), MREMAP_MAYMOVE | MREMAP_FIXED, of a part onto an equally long part of target. */
  void moveOnto(std::uint64_t offset, std::uint64_t length, Region& target, std::uint64_t targetOffset);

  /** Operations on other threads that hold the region just now. */
  std::atomic<int> inFlight{0};

 private:
  Region(std::uint8_t* begin, std::size_t length, std::size_t reserved);
  void reserveAgain(std::uint8_t* at, std::size_t length);

  std::uint8_t* begin_;
  std::size_t length_;
  std::size_t reserved_;  // length_ in whole (huge) pages
  // Parts that another thread of this process mapped in the instant after an mremap freed them; empty in practice. They are
  // not ours to touch or to unmap. [from, to), offsets.
  std::vector<std::pair<std::size_t, std::size_t>> lost_;
};

/** Bytes of a base page. */
std::size_t pageSize() noexcept;

}  // namespace daxrig

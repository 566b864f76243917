// The kernel's own word on pages: PAGEMAP_SCAN for page-table levels, /proc/kpage* in bulk.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace daxrig {

/** A run of pages with equal PAGE_IS_* categories. */
struct ScannedRange {
  std::uint64_t start, end;  // addresses
  std::uint64_t categories;
};
/** ioctl(PAGEMAP_SCAN), Linux 6.7 and later; SystemFailure ENOTTY before. */
std::vector<ScannedRange> pagemapScan(std::uint64_t start, std::uint64_t end);

struct KpageScan {
  std::uint64_t read = 0;  // pfns
  std::array<std::uint64_t, 64> perBit{};
  std::uint64_t nonZero = 0;
  std::uint64_t max = 0;
  bool ended = false;        // the file ended before the range:
  std::uint64_t endedAt = 0; // at this pfn
  struct Error {
    std::uint64_t pfn;
    int number;
  };
  std::vector<Error> errors;     // the first kMaxErrors
  std::uint64_t errorCount = 0;
  std::vector<std::uint64_t> values;  // by pfn, if asked for; 0 where it could not be read
  static constexpr std::size_t kMaxErrors = 1024;
};
KpageScan kpageScan(const std::string& path, std::uint64_t startPfn, std::uint64_t endPfn, std::size_t chunk, bool values);

}  // namespace daxrig

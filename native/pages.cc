#include "pages.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>

#include "errors.h"
#include "fd.h"

namespace daxrig {
namespace {

// include/uapi/linux/fs.h of 6.7; declared here because the build machine's headers may be older.
struct PageRegion {
  std::uint64_t start, end, categories;
};
struct PmScanArg {
  std::uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
  std::uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
constexpr unsigned long kPagemapScan = _IOWR('f', 16, PmScanArg);
constexpr std::uint64_t kAllCategories = 0xff;  // PAGE_IS_WPALLOWED up to PAGE_IS_SOFT_DIRTY

Fd openToRead(const char* path) { return Fd(check(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), "open")); }

void count(KpageScan& scan, const std::uint64_t* words, std::size_t length) {
  for (std::size_t i = 0; i < length; ++i) {
    std::uint64_t bits = words[i];
    scan.max = std::max(scan.max, bits);
    scan.nonZero += bits != 0;
    for (; bits != 0; bits &= bits - 1) ++scan.perBit[static_cast<std::size_t>(__builtin_ctzll(bits))];
  }
  scan.read += length;
}

}  // namespace

std::vector<ScannedRange> pagemapScan(std::uint64_t start, std::uint64_t end) {
  const Fd pagemap = openToRead("/proc/self/pagemap");
  std::vector<ScannedRange> ranges;
  std::vector<PageRegion> found(256);
  for (std::uint64_t from = start; from < end;) {
    PmScanArg arg{};
    arg.size = sizeof arg;
    arg.start = from;
    arg.end = end;
    arg.vec = reinterpret_cast<std::uintptr_t>(found.data());
    arg.vec_len = found.size();
    arg.return_mask = kAllCategories;
    const int count = check(ioctl(pagemap.get(), kPagemapScan, &arg), "ioctl(PAGEMAP_SCAN)");
    for (int i = 0; i < count; ++i) {
      const PageRegion& region = found[static_cast<std::size_t>(i)];
      ranges.push_back({region.start, region.end, region.categories});
    }
    if (arg.walk_end <= from) break;
    from = arg.walk_end;
  }
  return ranges;
}

KpageScan kpageScan(const std::string& path, std::uint64_t startPfn, std::uint64_t endPfn, std::size_t chunk, bool values) {
  const Fd file = openToRead(path.c_str());
  KpageScan scan;
  if (values) scan.values.assign(endPfn - startPfn, 0);
  std::vector<std::uint64_t> buffer(chunk);
  std::size_t step = chunk;
  for (std::uint64_t pfn = startPfn; pfn < endPfn;) {
    const std::size_t wanted = static_cast<std::size_t>(std::min<std::uint64_t>(step, endPfn - pfn));
    const ssize_t got =
        retryInterrupted([&] { return pread(file.get(), buffer.data(), wanted * 8, static_cast<off_t>(pfn * 8)); });
    if (got < 0) {
      if (wanted > 1) {  // narrow it down to the very pfn
        step = wanted / 2;
        continue;
      }
      ++scan.errorCount;
      if (scan.errors.size() < KpageScan::kMaxErrors) scan.errors.push_back({pfn, errno});
      ++pfn;
      continue;
    }
    const std::size_t words = static_cast<std::size_t>(got) / 8;
    if (words == 0) {
      scan.ended = true;
      scan.endedAt = pfn;
      break;
    }
    count(scan, buffer.data(), words);
    if (values) std::copy_n(buffer.data(), words, scan.values.begin() + static_cast<std::ptrdiff_t>(pfn - startPfn));
    pfn += words;
    step = std::min(chunk, step * 2);
  }
  return scan;
}

}  // namespace daxrig

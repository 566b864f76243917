#include "region.h"

#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>

#include "errors.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif
#ifndef MAP_HUGE_MASK
#define MAP_HUGE_MASK 0x3f
#endif
#ifndef HUGETLBFS_MAGIC
#define HUGETLBFS_MAGIC 0x958458f6
#endif

namespace daxrig {
namespace {

constexpr int kReservation = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

std::size_t roundUp(std::size_t value, std::size_t unit) { return (value + unit - 1) / unit * unit; }

/** munmap(2) wants whole pages of the mapping's own kind, and hugetlbfs has larger ones. */
std::size_t unitOf(const MapRequest& request) {
  if (request.fd >= 0) {
    struct statfs fs {};
    if (fstatfs(request.fd, &fs) == 0 && static_cast<std::uint32_t>(fs.f_type) == HUGETLBFS_MAGIC)
      return std::max(static_cast<std::size_t>(fs.f_bsize), pageSize());
  }
  if (request.flags & MAP_HUGETLB) {
    const int shift = (request.flags >> MAP_HUGE_SHIFT) & MAP_HUGE_MASK;
    return std::size_t{1} << shift;
  }
  return pageSize();
}

std::uint8_t* mapAligned(const MapRequest& request, std::size_t reserved) {
  const std::size_t room = reserved + request.align;
  void* reservation = check(mmap(nullptr, room, PROT_NONE, kReservation, -1, 0), "mmap");
  const auto low = reinterpret_cast<std::uintptr_t>(reservation);
  const std::uintptr_t begin = roundUp(low - request.alignSkew, request.align) + request.alignSkew;
  void* mapped = mmap(reinterpret_cast<void*>(begin), request.length, request.protection, request.flags | MAP_FIXED,
                      request.fd, static_cast<off_t>(request.fileOffset));
  if (mapped == MAP_FAILED) {
    const int why = errno;
    munmap(reservation, room);
    throw SystemFailure{why, "mmap"};
  }
  if (begin > low) munmap(reservation, begin - low);
  if (low + room > begin + reserved) munmap(reinterpret_cast<void*>(begin + reserved), low + room - begin - reserved);
  return static_cast<std::uint8_t*>(mapped);
}

}  // namespace

std::size_t pageSize() noexcept {
  static const auto size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

std::shared_ptr<Region> Region::map(const MapRequest& request) {
  const std::size_t reserved = roundUp(request.length, unitOf(request));
  std::uint8_t* begin =
      request.align > pageSize() || request.alignSkew != 0
          ? mapAligned(request, reserved)
          : static_cast<std::uint8_t*>(check(mmap(nullptr, request.length, request.protection, request.flags, request.fd,
                                                  static_cast<off_t>(request.fileOffset)),
                                             "mmap"));
  try {
    return std::shared_ptr<Region>(new Region(begin, request.length, reserved));
  } catch (...) {
    munmap(begin, reserved);
    throw;
  }
}

Region::Region(std::uint8_t* begin, std::size_t length, std::size_t reserved)
    : begin_(begin), length_(length), reserved_(reserved) {}

Region::~Region() {
  std::size_t from = 0;
  for (const auto& [lostFrom, lostTo] : lost_) {
    if (lostFrom > from) munmap(begin_ + from, lostFrom - from);
    from = std::max(from, lostTo);
  }
  if (reserved_ > from) munmap(begin_ + from, reserved_ - from);
}

Span Region::span(std::uint64_t offset, std::uint64_t length) const {
  if (offset > length_ || length > length_ - offset)
    throw BadArgument{BadArgument::Kind::Range, "offset " + std::to_string(offset) + " + length " + std::to_string(length) +
                                                    " is past the end of a mapping of " + std::to_string(length_) + " bytes"};
  for (const auto& [from, to] : lost_)
    if (offset < to && from < offset + length) throw SystemFailure{EFAULT, "mapping"};
  return {begin_, reserved_, begin_ + offset, static_cast<std::size_t>(length)};
}

void Region::unmap(std::uint64_t offset, std::uint64_t length) {
  const Span part = span(offset, length);
  check(mmap(part.start, part.length, PROT_NONE, kReservation | MAP_FIXED, -1, 0), "mmap");
}

void Region::reserveAgain(std::uint8_t* at, std::size_t length) {
  void* got = mmap(at, length, PROT_NONE, kReservation | MAP_FIXED_NOREPLACE, -1, 0);
  if (got == at) return;
  if (got != MAP_FAILED) munmap(got, length);  // kernels before 4.17 take the address for a hint
  const auto from = static_cast<std::size_t>(at - begin_);
  lost_.emplace_back(from, from + length);
  std::sort(lost_.begin(), lost_.end());
}

void Region::moveOnto(std::uint64_t offset, std::uint64_t length, Region& target, std::uint64_t targetOffset) {
  const Span from = span(offset, length);
  const Span to = target.span(targetOffset, length);
  // Between mremap(2) and the new reservation the place moved from is free for a moment: nothing of ours may write there.
  if (inFlight.load() != 0 || target.inFlight.load() != 0) throw SystemFailure{EBUSY, "mremap"};
  const std::size_t pages = roundUp(from.length, pageSize());
  // All memory that the steps after the move need is taken before it.
  std::vector<unsigned char> resident(pages / pageSize() + 1);
  lost_.reserve(lost_.size() + 1);
  target.lost_.reserve(target.lost_.size() + 1);
  if (mremap(from.start, from.length, from.length, MREMAP_MAYMOVE | MREMAP_FIXED, to.start) != MAP_FAILED) {
    reserveAgain(from.start, pages);
    return;
  }
  const int why = errno;
  // The kernel unmaps the target before it knows that it can move. mincore(2) tells: ENOMEM where nothing is mapped.
  if (mincore(to.start, from.length, resident.data()) != 0 && errno == ENOMEM) target.reserveAgain(to.start, pages);
  throw SystemFailure{why, "mremap"};
}

}  // namespace daxrig

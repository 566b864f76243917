#include "uring.h"

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "fd.h"

// The same on every architecture; the build machine's headers may be older.
#ifndef __NR_io_uring_setup
#define __NR_io_uring_setup 425
#define __NR_io_uring_enter 426
#define __NR_io_uring_register 427
#endif

namespace daxrig {
namespace {

constexpr std::uint64_t kUnit = 4096;  // a direct transfer is of whole sectors

/** A part of a ring that is shared with the kernel, unmapped in the end. */
class Shared {
 public:
  Shared(int fd, std::size_t length, std::uint64_t which)
      : length_(length),
        at_(static_cast<std::uint8_t*>(check(
            mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, static_cast<off_t>(which)), "mmap(io_uring)"))) {}
  ~Shared() { munmap(at_, length_); }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  template <class Type>
  Type* at(std::uint32_t offset) const {
    return reinterpret_cast<Type*>(at_ + offset);
  }

 private:
  std::size_t length_;
  std::uint8_t* at_;
};

struct RingFd {
  io_uring_params params{};
  Fd fd;
  explicit RingFd(unsigned entries) : fd(static_cast<int>(check(syscall(__NR_io_uring_setup, entries, &params), "io_uring_setup"))) {}
};

class Ring {
 public:
  explicit Ring(unsigned entries)
      : ring_(entries),
        submissions_(ring_.fd.get(), ring_.params.sq_off.array + ring_.params.sq_entries * sizeof(std::uint32_t), IORING_OFF_SQ_RING),
        completions_(ring_.fd.get(), ring_.params.cq_off.cqes + ring_.params.cq_entries * sizeof(io_uring_cqe), IORING_OFF_CQ_RING),
        entries_(ring_.fd.get(), ring_.params.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES) {}

  void registerBuffer(const iovec& buffer) {
    check(syscall(__NR_io_uring_register, ring_.fd.get(), IORING_REGISTER_BUFFERS, &buffer, 1), "io_uring_register");
  }

  /** Queues a request; no more than the ring has entries for. */
  void queue(const io_uring_sqe& request) {
    const auto& at = ring_.params.sq_off;
    const std::uint32_t index = queued_ & *submissions_.at<std::uint32_t>(at.ring_mask);
    entries_.at<io_uring_sqe>(0)[index] = request;
    submissions_.at<std::uint32_t>(at.array)[index] = index;
    __atomic_store_n(submissions_.at<std::uint32_t>(at.tail), ++queued_, __ATOMIC_RELEASE);
  }

  /** Submits what is queued and waits for all of it; gives each to `done`, by its result. */
  template <class Done>
  void finish(Done done) {
    const auto& at = ring_.params.cq_off;
    auto* head = completions_.at<std::uint32_t>(at.head);
    unsigned submitted = 0;
    for (unsigned completed = 0; completed < queued_;) {
      submitted += static_cast<unsigned>(check(
          retryInterrupted([&] { return syscall(__NR_io_uring_enter, ring_.fd.get(), queued_ - submitted, 1, IORING_ENTER_GETEVENTS, nullptr, 0); }), "io_uring_enter"));
      for (std::uint32_t next = *head; next != __atomic_load_n(completions_.at<std::uint32_t>(at.tail), __ATOMIC_ACQUIRE); ++completed) {
        done(completions_.at<io_uring_cqe>(at.cqes)[next & *completions_.at<std::uint32_t>(at.ring_mask)].res);
        __atomic_store_n(head, ++next, __ATOMIC_RELEASE);
      }
    }
  }

 private:
  RingFd ring_;
  Shared submissions_;
  Shared completions_;
  Shared entries_;
  std::uint32_t queued_ = 0;
};

}  // namespace

std::uint64_t ringTransfer(const RingTransfer& transfer) {
  const auto& [span, fd, fileOffset, write, registered, parts] = transfer;
  const std::uint64_t share = (span.length / parts + kUnit - 1) / kUnit * kUnit;
  Ring ring(parts);
  if (registered) ring.registerBuffer({span.start, span.length});
  // They must stay where they are until the requests are done.
  std::vector<iovec> pieces;
  pieces.reserve(parts);
  for (std::uint64_t at = 0; at < span.length; at += share) {
    pieces.push_back({span.start + at, static_cast<std::size_t>(std::min<std::uint64_t>(share, span.length - at))});
    io_uring_sqe request{};
    request.fd = fd;
    request.off = fileOffset + at;
    if (registered) {
      request.opcode = write ? IORING_OP_WRITE_FIXED : IORING_OP_READ_FIXED;
      request.addr = reinterpret_cast<std::uintptr_t>(pieces.back().iov_base);
      request.len = static_cast<std::uint32_t>(pieces.back().iov_len);
    } else {
      request.opcode = write ? IORING_OP_WRITEV : IORING_OP_READV;
      request.addr = reinterpret_cast<std::uintptr_t>(&pieces.back());
      request.len = 1;
    }
    ring.queue(request);
  }
  std::uint64_t moved = 0;
  int error = 0;
  ring.finish([&](std::int32_t result) {
    if (result < 0)
      error = -result;
    else
      moved += static_cast<std::uint32_t>(result);
  });
  if (error != 0) throw SystemFailure{error, write ? "io_uring write" : "io_uring read"};
  return moved;
}

}  // namespace daxrig

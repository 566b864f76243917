#include "trace.h"

#include <fcntl.h>
#include <glob.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "errors.h"

namespace daxrig {
namespace {

// struct buffer_data_page: u64 time stamp, u64 commit, data. kernel/trace/ring_buffer.c
constexpr std::size_t kPageHeader = 16;
constexpr std::uint64_t kCommitMask = 0xfffff;
constexpr std::uint64_t kMissed = std::uint64_t{1} << 31;
// enum ring_buffer_type, include/linux/ring_buffer.h
constexpr unsigned kPadding = 29;
constexpr unsigned kTimeExtend = 30;
constexpr unsigned kTimeStamp = 31;
/** More than any page of a ring buffer: sub-buffers can be larger than a page since 6.8. */
constexpr std::size_t kBuffer = std::size_t{1} << 20;
constexpr auto kPause = std::chrono::milliseconds(10);

std::vector<Fd> openBuffers(const std::string& instance) {
  std::vector<Fd> fds;
  glob_t found{};
  if (glob((instance + "/per_cpu/cpu*/trace_pipe_raw").c_str(), 0, nullptr, &found) == 0)
    for (std::size_t i = 0; i < found.gl_pathc; i++) {
      const int fd = open(found.gl_pathv[i], O_RDONLY | O_NONBLOCK | O_CLOEXEC);
      if (fd >= 0) fds.emplace_back(fd);
    }
  globfree(&found);
  if (fds.empty()) {
    errno = ENOENT;
    failWithErrno("open");
  }
  return fds;
}

template <class T>
T load(const std::uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

}  // namespace

void readTracePage(const std::uint8_t* page, std::size_t length, std::uint16_t event, std::size_t addressAt, FunctionHits& hits) {
  if (length < kPageHeader) return;
  const auto commit = load<std::uint64_t>(page + 8);
  if ((commit & kMissed) != 0) hits.missed++;
  const std::size_t end = kPageHeader + (commit & kCommitMask);
  if (end > length) return;
  for (std::size_t at = kPageHeader; at + 4 <= end;) {
    const auto header = load<std::uint32_t>(page + at);
    const unsigned type = header & 0x1f;
    if (type == kTimeExtend || type == kTimeStamp) {
      at += 8;
      continue;
    }
    std::size_t data = at + 4;
    std::size_t size = std::size_t{type} * 4;  // of the payload, for short events
    if (type == 0 || type == kPadding) {
      if (type == kPadding && header >> 5 == 0) return;  // the rest of the page is empty
      if (data + 4 > end) return;
      size = load<std::uint32_t>(page + data);  // counts itself
      if (size < 4) return;
      if (type == 0) data += 4;
    }
    const std::size_t next = at + 4 + size;
    if (next > end) return;
    if (type != kPadding && data + addressAt + 8 <= next && load<std::uint16_t>(page + data) == event)
      hits.byAddress[load<std::uint64_t>(page + data + addressAt)]++;
    at = next;
  }
}

TraceCollector::TraceCollector(const std::string& instance, std::uint16_t event, std::size_t addressAt)
    : fds_(openBuffers(instance)), event_(event), addressAt_(addressAt), buffer_(kBuffer), thread_([this] { follow(); }) {}

TraceCollector::~TraceCollector() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

void TraceCollector::follow() {
  while (!stop_ && errno_ == 0)
    if (!drain()) std::this_thread::sleep_for(kPause);
}

/** One pass over all buffers; whether there was anything. */
bool TraceCollector::drain() {
  bool any = false;
  for (const Fd& fd : fds_) {
    for (;;) {
      const ssize_t got = ::read(fd.get(), buffer_.data(), buffer_.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0 && errno != EAGAIN) errno_ = errno;
      if (got <= 0) break;
      any = true;
      readTracePage(buffer_.data(), static_cast<std::size_t>(got), event_, addressAt_, hits_);
    }
  }
  return any;
}

FunctionHits TraceCollector::finish() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
  while (errno_ == 0 && drain()) {
  }
  if (errno_ != 0) {
    errno = errno_;
    check(-1, "read");
  }
  return std::move(hits_);
}

}  // namespace daxrig

#include "files.h"

#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "names.h"

#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x1000
#endif
#ifndef STATX_ATTR_MOUNT_ROOT
#define STATX_ATTR_MOUNT_ROOT 0x2000
#endif
#ifndef STATX_ATTR_VERITY
#define STATX_ATTR_VERITY 0x100000
#endif
#ifndef STATX_ATTR_DAX
#define STATX_ATTR_DAX 0x200000
#endif
#ifndef STATX_ATTR_WRITE_ATOMIC
#define STATX_ATTR_WRITE_ATOMIC 0x400000
#endif

namespace daxrig {
namespace {

// include/uapi/linux/fiemap.h
constexpr Name kExtentFlags[] = {
    {"last", FIEMAP_EXTENT_LAST},
    {"unknown", FIEMAP_EXTENT_UNKNOWN},
    {"delalloc", FIEMAP_EXTENT_DELALLOC},
    {"encoded", FIEMAP_EXTENT_ENCODED},
    {"encrypted", FIEMAP_EXTENT_DATA_ENCRYPTED},
    {"not-aligned", FIEMAP_EXTENT_NOT_ALIGNED},
    {"inline", FIEMAP_EXTENT_DATA_INLINE},
    {"tail", FIEMAP_EXTENT_DATA_TAIL},
    {"unwritten", FIEMAP_EXTENT_UNWRITTEN},
    {"merged", FIEMAP_EXTENT_MERGED},
    {"shared", FIEMAP_EXTENT_SHARED},
};

// fallocate(2); all but "allocate" keep the file size unless they change it by their nature.
constexpr Name kFallocateModes[] = {
    {"allocate", 0},
    {"keep-size", FALLOC_FL_KEEP_SIZE},
    {"punch-hole", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE},
    {"zero-range", FALLOC_FL_ZERO_RANGE},
    {"collapse-range", FALLOC_FL_COLLAPSE_RANGE},
    {"insert-range", FALLOC_FL_INSERT_RANGE},
    {"unshare", FALLOC_FL_UNSHARE_RANGE},
};

// statx(2)
constexpr Name kAttributes[] = {
    {"compressed", STATX_ATTR_COMPRESSED}, {"immutable", STATX_ATTR_IMMUTABLE},   {"append", STATX_ATTR_APPEND},
    {"nodump", STATX_ATTR_NODUMP},         {"encrypted", STATX_ATTR_ENCRYPTED},   {"automount", STATX_ATTR_AUTOMOUNT},
    {"mount-root", STATX_ATTR_MOUNT_ROOT}, {"verity", STATX_ATTR_VERITY},         {"dax", STATX_ATTR_DAX},
    {"write-atomic", STATX_ATTR_WRITE_ATOMIC},
};

// FS_XFLAG_*, include/uapi/linux/fs.h
constexpr Name kInodeFlags[] = {
    {"realtime", FS_XFLAG_REALTIME},       {"prealloc", FS_XFLAG_PREALLOC},         {"immutable", FS_XFLAG_IMMUTABLE},
    {"append", FS_XFLAG_APPEND},           {"sync", FS_XFLAG_SYNC},                 {"noatime", FS_XFLAG_NOATIME},
    {"nodump", FS_XFLAG_NODUMP},           {"rtinherit", FS_XFLAG_RTINHERIT},       {"projinherit", FS_XFLAG_PROJINHERIT},
    {"nosymlinks", FS_XFLAG_NOSYMLINKS},   {"extsize", FS_XFLAG_EXTSIZE},           {"extszinherit", FS_XFLAG_EXTSZINHERIT},
    {"nodefrag", FS_XFLAG_NODEFRAG},       {"filestream", FS_XFLAG_FILESTREAM},     {"dax", FS_XFLAG_DAX},
    {"cowextsize", FS_XFLAG_COWEXTSIZE},   {"hasattr", FS_XFLAG_HASATTR},
};

template <std::size_t size>
std::vector<std::string> namesIn(const Name (&table)[size], std::uint64_t bits) {
  std::vector<std::string> names;
  for (const Name& entry : table)
    if (bits & static_cast<std::uint64_t>(entry.value)) names.emplace_back(entry.name);
  return names;
}

}  // namespace

std::vector<Extent> fiemap(int fd) {
  constexpr std::uint32_t kBatch = 256;
  std::vector<char> memory(sizeof(struct fiemap) + kBatch * sizeof(fiemap_extent));
  std::vector<Extent> extents;
  for (std::uint64_t from = 0;;) {
    std::memset(memory.data(), 0, memory.size());
    auto* request = reinterpret_cast<struct fiemap*>(memory.data());
    request->fm_start = from;
    request->fm_length = FIEMAP_MAX_OFFSET - from;
    request->fm_flags = FIEMAP_FLAG_SYNC;
    request->fm_extent_count = kBatch;
    check(ioctl(fd, FS_IOC_FIEMAP, request), "ioctl(FS_IOC_FIEMAP)");
    const auto* found = reinterpret_cast<const fiemap_extent*>(memory.data() + sizeof(struct fiemap));
    for (std::uint32_t i = 0; i < request->fm_mapped_extents; ++i) {
      const fiemap_extent& extent = found[i];
      extents.push_back({extent.fe_logical, extent.fe_physical, extent.fe_length, namesIn(kExtentFlags, extent.fe_flags)});
      if ((extent.fe_flags & FIEMAP_EXTENT_LAST) || extent.fe_logical + extent.fe_length <= from) return extents;
      from = extent.fe_logical + extent.fe_length;
    }
    if (request->fm_mapped_extents == 0) return extents;
  }
}

int fallocateMode(std::string_view name) { return static_cast<int>(valueOf(kFallocateModes, name, "mode")); }

void fallocateFile(int fd, int mode, std::uint64_t offset, std::uint64_t length) {
  check(retryInterrupted([&] { return fallocate(fd, mode, static_cast<off_t>(offset), static_cast<off_t>(length)); }),
        "fallocate");
}

Stat statxOf(int fd, const std::string& path) {
  struct statx from {};
  const unsigned wanted = STATX_BASIC_STATS | STATX_MNT_ID;
  check(fd == -1 ? statx(AT_FDCWD, path.c_str(), 0, wanted, &from) : statx(fd, "", AT_EMPTY_PATH, wanted, &from), "statx");
  Stat to{};
  to.size = from.stx_size;
  to.blocks = from.stx_blocks;
  to.ino = from.stx_ino;
  to.mode = from.stx_mode;
  to.devMajor = from.stx_dev_major;
  to.devMinor = from.stx_dev_minor;
  to.rdevMajor = from.stx_rdev_major;
  to.rdevMinor = from.stx_rdev_minor;
  if (from.stx_mask & STATX_MNT_ID) {
    // stx_mnt_id, which older headers do not name: the first word after stx_dev_minor.
    std::uint64_t id = 0;
    std::memcpy(&id, reinterpret_cast<const char*>(&from) + 0x90, sizeof id);
    to.mountId = id;
  }
  to.attributes = namesIn(kAttributes, from.stx_attributes);
  to.attributesMask = namesIn(kAttributes, from.stx_attributes_mask);
  if (from.stx_attributes_mask & STATX_ATTR_DAX) to.dax = (from.stx_attributes & STATX_ATTR_DAX) != 0;
  return to;
}

InodeFlags getInodeFlags(int fd) {
  fsxattr attr{};
  check(ioctl(fd, FS_IOC_FSGETXATTR, &attr), "ioctl(FS_IOC_FSGETXATTR)");
  return {namesIn(kInodeFlags, attr.fsx_xflags), attr.fsx_extsize, attr.fsx_nextents, attr.fsx_projid, attr.fsx_cowextsize};
}

std::uint32_t inodeFlag(std::string_view name) { return static_cast<std::uint32_t>(valueOf(kInodeFlags, name, "flag")); }

void changeInodeFlags(int fd, std::uint32_t set, std::uint32_t clear) {
  fsxattr attr{};
  check(ioctl(fd, FS_IOC_FSGETXATTR, &attr), "ioctl(FS_IOC_FSGETXATTR)");
  attr.fsx_xflags = (attr.fsx_xflags | set) & ~clear;
  check(ioctl(fd, FS_IOC_FSSETXATTR, &attr), "ioctl(FS_IOC_FSSETXATTR)");
}

BlockDevice blockDevice(int fd) {
  BlockDevice device{};
  int readOnly = 0;
  int logical = 0;
  unsigned physical = 0;
  check(ioctl(fd, BLKGETSIZE64, &device.size), "ioctl(BLKGETSIZE64)");
  check(ioctl(fd, BLKROGET, &readOnly), "ioctl(BLKROGET)");
  check(ioctl(fd, BLKSSZGET, &logical), "ioctl(BLKSSZGET)");
  check(ioctl(fd, BLKPBSZGET, &physical), "ioctl(BLKPBSZGET)");
  device.readOnly = readOnly != 0;
  device.logicalBlockSize = static_cast<std::uint32_t>(logical);
  device.physicalBlockSize = physical;
  return device;
}

void reflink(int to, int from) { check(ioctl(to, FICLONE, from), "ioctl(FICLONE)"); }

std::uint64_t copyFileRange(int from, std::uint64_t fromOffset, int to, std::uint64_t toOffset, std::uint64_t length) {
  auto readAt = static_cast<off64_t>(fromOffset);
  auto writeAt = static_cast<off64_t>(toOffset);
  return static_cast<std::uint64_t>(
      check(retryInterrupted([&] { return copy_file_range(from, &readAt, to, &writeAt, length, 0); }), "copy_file_range"));
}

void seekToEnd(int fd) { check(lseek(fd, 0, SEEK_END), "lseek"); }

void syncFileSystem(int fd) { check(syncfs(fd), "syncfs"); }

int memoryFile(const std::string& name) { return check(memfd_create(name.c_str(), MFD_CLOEXEC), "memfd_create"); }

namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kChunk = 1 << 20;

void writeAll(int fd, const std::uint8_t* bytes, std::uint64_t length, std::uint64_t offset) {
  while (length > 0) {
    const auto done = static_cast<std::uint64_t>(
        check(retryInterrupted([&] { return pwrite(fd, bytes, length, static_cast<off_t>(offset)); }), "pwrite"));
    bytes += done;
    offset += done;
    length -= done;
  }
}

bool allZero(const std::uint8_t* bytes, std::uint64_t length) {
  return bytes[0] == 0 && std::memcmp(bytes, bytes + 1, length - 1) == 0;
}

/** Writes the pages of one chunk that are not zero, neighbours together. */
std::uint64_t writePages(int to, const std::uint8_t* bytes, std::uint64_t length, std::uint64_t offset) {
  std::uint64_t written = 0;
  for (std::uint64_t at = 0; at < length;) {
    std::uint64_t end = at;
    while (end < length && !allZero(bytes + end, std::min(kPage, length - end))) end = std::min(end + kPage, length);
    if (end > at) writeAll(to, bytes + at, end - at, offset + at);
    written += end - at;
    at = end + kPage;  // the page at end is zero, or past the chunk
  }
  return written;
}

}  // namespace

namespace {

/** Copies the data of [begin, end). */
std::uint64_t copyRange(int from, int to, off_t begin, off_t end) {
  std::vector<std::uint8_t> chunk(kChunk);
  std::uint64_t written = 0;
  // The offset that lseek sets is not used: threads share the descriptor.
  for (off_t data = begin; data < end;) {
    data = lseek(from, data, SEEK_DATA);
    if (data < 0 && errno == ENXIO) return written;  // no data after this
    check(data, "lseek");
    const off_t hole = std::min(end, check(lseek(from, data, SEEK_HOLE), "lseek"));
    while (data < hole) {
      const auto wanted = std::min<std::size_t>(kChunk, static_cast<std::size_t>(hole - data));
      const auto got = static_cast<std::uint64_t>(
          check(retryInterrupted([&] { return pread(from, chunk.data(), wanted, data); }), "pread"));
      if (got == 0) return written;  // cut short meanwhile
      written += writePages(to, chunk.data(), got, static_cast<std::uint64_t>(data));
      data += static_cast<off_t>(got);
    }
  }
  return written;
}

}  // namespace

std::uint64_t copySparse(int from, int to, std::uint64_t skipStart, std::uint64_t skipEnd, bool behindOthers) {
  struct stat file;
  check(fstat(from, &file), "fstat");
  check(retryInterrupted([&] { return ftruncate(to, file.st_size); }), "ftruncate");
  // Parts taken in turn by a few threads: memory, not a disk, is what this waits for.
  constexpr off_t kPart = off_t{32} << 20;
  constexpr int kBehindOthers = 10;
  std::atomic<off_t> next{0};
  std::atomic<std::uint64_t> written{0};
  std::exception_ptr failure;
  std::mutex mutex;
  const auto skipFrom = static_cast<off_t>(skipStart);
  const auto skipTo = static_cast<off_t>(std::max(skipStart, skipEnd));
  auto work = [&] {
    if (behindOthers) setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kBehindOthers);  // as nice(1); where it may not, it is only less polite
    try {
      for (off_t begin = next.fetch_add(kPart); begin < file.st_size; begin = next.fetch_add(kPart)) {
        const off_t end = std::min<off_t>(begin + kPart, file.st_size);
        written += copyRange(from, to, begin, std::min(end, std::max(begin, skipFrom)));
        written += copyRange(from, to, std::max(begin, std::min(end, skipTo)), end);
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      failure = std::current_exception();
      next = file.st_size;
    }
  };
  std::vector<std::thread> workers(std::clamp(std::thread::hardware_concurrency(), 1U, 4U));
  for (std::thread& worker : workers) worker = std::thread(work);
  for (std::thread& worker : workers) worker.join();
  if (failure) std::rethrow_exception(failure);
  return written;
}

}  // namespace daxrig

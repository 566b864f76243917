// What files, file systems and block devices tell and do.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace daxrig {

struct Extent {
  std::uint64_t logical;
  std::uint64_t physical;
  std::uint64_t length;
  std::vector<std::string> flags;
};
std::vector<Extent> fiemap(int fd);

int fallocateMode(std::string_view name);
void fallocateFile(int fd, int mode, std::uint64_t offset, std::uint64_t length);

struct Stat {
  std::uint64_t size, blocks, ino;
  std::uint32_t mode, devMajor, devMinor, rdevMajor, rdevMinor;
  std::optional<std::uint64_t> mountId;
  std::vector<std::string> attributes;
  std::vector<std::string> attributesMask;
  std::optional<bool> dax;  // empty: the kernel does not report it
};
/** Of a path, or of fd when it is not -1. */
Stat statxOf(int fd, const std::string& path);

struct InodeFlags {
  std::vector<std::string> flags;
  std::uint32_t extentSize, extents, projectId, cowExtentSize;
};
InodeFlags getInodeFlags(int fd);
std::uint32_t inodeFlag(std::string_view name);
/** Sets and clears FS_XFLAG_* bits, leaves the rest of struct fsxattr as it is. */
void changeInodeFlags(int fd, std::uint32_t set, std::uint32_t clear);

struct BlockDevice {
  std::uint64_t size;
  bool readOnly;
  std::uint32_t logicalBlockSize, physicalBlockSize;
};
BlockDevice blockDevice(int fd);

void reflink(int to, int from);
std::uint64_t copyFileRange(int from, std::uint64_t fromOffset, int to, std::uint64_t toOffset, std::uint64_t length);
void seekToEnd(int fd);
void syncFileSystem(int fd);

/** An anonymous file in memory, memfd_create(2); the caller closes it. */
int memoryFile(const std::string& name);
/**
 * Copies a file's data, and none of its holes or zero pages, to an empty file; [skipStart, skipEnd) is left out too.
 * With behindOthers everything else on the machine comes first. Returns the bytes written.
 */
std::uint64_t copySparse(int from, int to, std::uint64_t skipStart, std::uint64_t skipEnd, bool behindOthers);

}  // namespace daxrig

// Exports that work on files, file systems and block devices.
#include "binding.h"
#include "files.h"

namespace daxrig {
namespace {

Napi::Object deviceValue(Napi::Env env, std::uint32_t major, std::uint32_t minor) {
  Napi::Object value = Napi::Object::New(env);
  value.Set("major", numberValue(env, major));
  value.Set("minor", numberValue(env, minor));
  return value;
}

// fiemap(fd)
Job fiemapCall(Args& args) {
  const int fd = args.fd(0);
  return job([=] { return fiemap(fd); },
             [](Napi::Env env, const std::vector<Extent>& extents) {
               Napi::Array array = Napi::Array::New(env, extents.size());
               for (std::size_t i = 0; i < extents.size(); ++i) {
                 const Extent& extent = extents[i];
                 Napi::Object value = Napi::Object::New(env);
                 value.Set("logical", numberValue(env, extent.logical));
                 value.Set("physical", numberValue(env, extent.physical));
                 value.Set("length", numberValue(env, extent.length));
                 value.Set("flags", textsValue(env, extent.flags));
                 array.Set(static_cast<std::uint32_t>(i), value);
               }
               return array;
             });
}

// fallocate(fd, mode, offset, length)
Job fallocateCall(Args& args) {
  const int fd = args.fd(0);
  const int mode = fallocateMode(args.text(1, "mode"));
  const std::uint64_t offset = args.size(2, "offset");
  const std::uint64_t length = args.size(3, "length");
  return job([=] { fallocateFile(fd, mode, offset, length); });
}

Napi::Object statValue(Napi::Env env, const Stat& stat) {
  Napi::Object value = Napi::Object::New(env);
  value.Set("size", numberValue(env, stat.size));
  value.Set("blocks", numberValue(env, stat.blocks));
  value.Set("mode", numberValue(env, stat.mode));
  value.Set("ino", numberValue(env, stat.ino));
  value.Set("dev", deviceValue(env, stat.devMajor, stat.devMinor));
  value.Set("rdev", deviceValue(env, stat.rdevMajor, stat.rdevMinor));
  if (stat.mountId) value.Set("mountId", numberValue(env, *stat.mountId));
  value.Set("attributes", textsValue(env, stat.attributes));
  value.Set("attributesMask", textsValue(env, stat.attributesMask));
  if (stat.dax) value.Set("dax", Napi::Boolean::New(env, *stat.dax));
  return value;
}

// statx(fd or -1, path)
Job statxCall(Args& args) {
  const int fd = static_cast<int>(args.integer(0, "fd", -1, 0x7fffffff));
  const std::string path = args.text(1, "path");
  return job([=] { return statxOf(fd, path); }, statValue);
}

// getInodeFlags(fd)
Job getInodeFlagsCall(Args& args) {
  const int fd = args.fd(0);
  return job([=] { return getInodeFlags(fd); },
             [](Napi::Env env, const InodeFlags& inode) {
               Napi::Object value = Napi::Object::New(env);
               value.Set("flags", textsValue(env, inode.flags));
               value.Set("extentSize", numberValue(env, inode.extentSize));
               value.Set("extents", numberValue(env, inode.extents));
               value.Set("projectId", numberValue(env, inode.projectId));
               value.Set("cowExtentSize", numberValue(env, inode.cowExtentSize));
               return value;
             });
}

// changeInodeFlags(fd, set, clear)
Job changeInodeFlagsCall(Args& args) {
  const int fd = args.fd(0);
  std::uint32_t set = 0;
  std::uint32_t clear = 0;
  for (const std::string& name : args.texts(1, "set")) set |= inodeFlag(name);
  for (const std::string& name : args.texts(2, "clear")) clear |= inodeFlag(name);
  return job([=] { changeInodeFlags(fd, set, clear); });
}

// blockDevice(fd)
Job blockDeviceCall(Args& args) {
  const int fd = args.fd(0);
  return job([=] { return blockDevice(fd); },
             [](Napi::Env env, const BlockDevice& device) {
               Napi::Object value = Napi::Object::New(env);
               value.Set("size", numberValue(env, device.size));
               value.Set("readOnly", Napi::Boolean::New(env, device.readOnly));
               value.Set("logicalBlockSize", numberValue(env, device.logicalBlockSize));
               value.Set("physicalBlockSize", numberValue(env, device.physicalBlockSize));
               return value;
             });
}

// reflink(to, from)
Job reflinkCall(Args& args) {
  const int to = args.fd(0, "to");
  const int from = args.fd(1, "from");
  return job([=] { reflink(to, from); });
}

// copyFileRange(from, fromOffset, to, toOffset, length)
Job copyFileRangeCall(Args& args) {
  const int from = args.fd(0, "from");
  const std::uint64_t fromOffset = args.size(1, "fromOffset");
  const int to = args.fd(2, "to");
  const std::uint64_t toOffset = args.size(3, "toOffset");
  const std::uint64_t length = args.size(4, "length");
  return job([=] { return copyFileRange(from, fromOffset, to, toOffset, length); },
             [](Napi::Env env, std::uint64_t copied) { return numberValue(env, copied); });
}

// seekToEnd(fd)
Job seekToEndCall(Args& args) {
  const int fd = args.fd(0);
  return job([=] { seekToEnd(fd); });
}

// syncfs(fd)
Job syncfsCall(Args& args) {
  const int fd = args.fd(0);
  return job([=] { syncFileSystem(fd); });
}

// memoryFile(name)
Job memoryFileCall(Args& args) {
  const std::string name = args.text(0, "name");
  return job([=] { return memoryFile(name); }, [](Napi::Env env, int fd) { return numberValue(env, fd); });
}

// copySparse(from, to, skipStart, skipEnd, behindOthers)
Job copySparseCall(Args& args) {
  const int from = args.fd(0, "from");
  const int to = args.fd(1, "to");
  const std::uint64_t skipStart = args.size(2, "skipStart");
  const std::uint64_t skipEnd = args.size(3, "skipEnd");
  const bool behindOthers = args.boolean(4, "behindOthers");
  return job([=] { return copySparse(from, to, skipStart, skipEnd, behindOthers); },
             [](Napi::Env env, std::uint64_t written) { return numberValue(env, written); });
}

}  // namespace

void exportFiles(const Exports& exports) {
  both<fiemapCall>(exports, "fiemap");
  both<fallocateCall>(exports, "fallocate");
  both<statxCall>(exports, "statx");
  both<getInodeFlagsCall>(exports, "getInodeFlags");
  both<changeInodeFlagsCall>(exports, "changeInodeFlags");
  both<blockDeviceCall>(exports, "blockDevice");
  both<reflinkCall>(exports, "reflink");
  both<copyFileRangeCall>(exports, "copyFileRange");
  onlyNow<seekToEndCall>(exports, "seekToEnd");
  both<syncfsCall>(exports, "syncfs");
  both<memoryFileCall>(exports, "memoryFile");
  both<copySparseCall>(exports, "copySparse");
}

}  // namespace daxrig

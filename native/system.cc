#include "system.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/random.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "access.h"
#include "names.h"

namespace daxrig {
namespace {

constexpr Name kMountFlags[] = {
    {"ro", MS_RDONLY},          {"nosuid", MS_NOSUID},   {"nodev", MS_NODEV},     {"noexec", MS_NOEXEC},
    {"sync", MS_SYNCHRONOUS},   {"remount", MS_REMOUNT}, {"dirsync", MS_DIRSYNC}, {"noatime", MS_NOATIME},
    {"nodiratime", MS_NODIRATIME}, {"bind", MS_BIND},    {"move", MS_MOVE},       {"rec", MS_REC},
    {"silent", MS_SILENT},      {"private", MS_PRIVATE}, {"slave", MS_SLAVE},     {"shared", MS_SHARED},
    {"relatime", MS_RELATIME},  {"strictatime", MS_STRICTATIME}, {"lazytime", MS_LAZYTIME},
};
constexpr Name kUmountFlags[] = {
    {"force", MNT_FORCE}, {"detach", MNT_DETACH}, {"expire", MNT_EXPIRE}, {"nofollow", UMOUNT_NOFOLLOW}};
constexpr Name kMceKill[] = {
    {"late", PR_MCE_KILL_LATE}, {"early", PR_MCE_KILL_EARLY}, {"default", PR_MCE_KILL_DEFAULT}};
constexpr Name kReboot[] = {{"power-off", static_cast<long>(RB_POWER_OFF)}, {"restart", static_cast<long>(RB_AUTOBOOT)}};

template <class Read>
double costNs(Read read) {
  constexpr int kRounds = 15;
  constexpr int kReads = 200;
  std::array<double, kRounds> rounds{};
  for (double& round : rounds) {
    const std::int64_t started = nanoseconds(CLOCK_MONOTONIC_RAW);
    for (int i = 0; i < kReads; ++i) read();
    round = static_cast<double>(nanoseconds(CLOCK_MONOTONIC_RAW) - started) / kReads;
  }
  std::nth_element(rounds.begin(), rounds.begin() + kRounds / 2, rounds.end());
  return rounds[kRounds / 2];
}

double resolutionNs(clockid_t clock) {
  timespec resolution{};
  check(clock_getres(clock, &resolution), "clock_getres");
  return static_cast<double>(resolution.tv_sec) * 1e9 + static_cast<double>(resolution.tv_nsec);
}

}  // namespace

unsigned long mountFlag(std::string_view name) { return static_cast<unsigned long>(valueOf(kMountFlags, name, "mount flag")); }
int umountFlag(std::string_view name) { return static_cast<int>(valueOf(kUmountFlags, name, "umount flag")); }

void mountFileSystem(const std::string& source, const std::string& target, const std::string& type, unsigned long flags,
                     const std::string& data) {
  check(mount(source.c_str(), target.c_str(), type.empty() ? nullptr : type.c_str(), flags,
              data.empty() ? nullptr : data.c_str()),
        "mount");
}

void unmountFileSystem(const std::string& target, int flags) { check(umount2(target.c_str(), flags), "umount2"); }

void setRealtime(std::int64_t ns) {
  const timespec time{static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
  check(clock_settime(CLOCK_REALTIME, &time), "clock_settime");
}

void writeSecondSerialPort(const std::vector<std::uint8_t>& bytes) {
  constexpr unsigned short kCom2 = 0x2f8;
  check(ioperm(kCom2, 1, 1), "ioperm");
  outsb(kCom2, bytes.data(), bytes.size());
  ioperm(kCom2, 1, 0);  // taking a permission back cannot fail
}

void addEntropy(const std::vector<std::uint8_t>& bytes) {
  const int fd = check(open("/dev/random", O_WRONLY | O_CLOEXEC), "open");
  // struct rand_pool_info: bits of entropy, bytes, the bytes as 32-bit words.
  std::vector<std::uint32_t> request(2 + (bytes.size() + 3) / 4);
  request[0] = static_cast<std::uint32_t>(bytes.size() * 8);
  request[1] = static_cast<std::uint32_t>(bytes.size());
  if (!bytes.empty()) std::memcpy(&request[2], bytes.data(), bytes.size());
  const char* call = "ioctl(RNDADDENTROPY)";
  int result = ioctl(fd, RNDADDENTROPY, request.data());
  if (result != -1) {
    // The pool alone would be drawn from minutes later: the generator is told to start anew with it.
    call = "ioctl(RNDRESEEDCRNG)";
    result = ioctl(fd, RNDRESEEDCRNG);
  }
  const int why = errno;
  close(fd);
  if (result == -1) throw SystemFailure{why, call};
  // Node's own generator has drawn its seed before: a copy of this process would give the numbers that all others give.
  using Add = void (*)(const void*, int, double);
  if (const auto add = reinterpret_cast<Add>(dlsym(RTLD_DEFAULT, "RAND_add"))) add(bytes.data(), static_cast<int>(bytes.size()), static_cast<double>(bytes.size()));
}

int mceKillPolicy(std::string_view name) { return static_cast<int>(valueOf(kMceKill, name, "policy")); }
void setMceKillPolicy(int policy) { check(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, policy, 0, 0), "prctl(PR_MCE_KILL)"); }

void finitModule(int fd, const std::string& parameters) {
  check(syscall(SYS_finit_module, fd, parameters.c_str(), 0), "finit_module");
}
void deleteModule(const std::string& name) { check(syscall(SYS_delete_module, name.c_str(), O_NONBLOCK), "delete_module"); }

int rebootCommand(std::string_view name) { return static_cast<int>(valueOf(kReboot, name, "command")); }
void rebootMachine(int command) { check(reboot(command), "reboot"); }

std::size_t processVmRead(int pid, std::uint64_t address, std::uint8_t* to, std::size_t length) {
  const iovec local{to, length};
  const iovec remote{reinterpret_cast<void*>(address), length};
  return static_cast<std::size_t>(check(process_vm_readv(pid, &local, 1, &remote, 1, 0), "process_vm_readv"));
}

Clocks measureClocks() {
  Clocks clocks{};
  clocks.raw = {resolutionNs(CLOCK_MONOTONIC_RAW), costNs([] { return nanoseconds(CLOCK_MONOTONIC_RAW); })};
  clocks.monotonic = {resolutionNs(CLOCK_MONOTONIC), costNs([] { return nanoseconds(CLOCK_MONOTONIC); })};
  if (!hasTsc()) return clocks;
  const std::int64_t started = nanoseconds(CLOCK_MONOTONIC_RAW);
  const std::uint64_t ticks = readTsc();
  clocks.tsc.overheadNs = costNs(readTsc);
  std::int64_t elapsed = 0;
  do elapsed = nanoseconds(CLOCK_MONOTONIC_RAW) - started;
  while (elapsed < 2'000'000);
  clocks.tscPerNs = static_cast<double>(readTsc() - ticks) / static_cast<double>(elapsed);
  clocks.tsc.resolutionNs = clocks.tscPerNs > 0 ? 1 / clocks.tscPerNs : 0;
  return clocks;
}

}  // namespace daxrig

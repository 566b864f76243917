// The machine at large: mounts, clocks, modules, other processes' memory.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace daxrig {

unsigned long mountFlag(std::string_view name);
int umountFlag(std::string_view name);
void mountFileSystem(const std::string& source, const std::string& target, const std::string& type, unsigned long flags,
                     const std::string& data);
void unmountFileSystem(const std::string& target, int flags);

void setRealtime(std::int64_t ns);
void addEntropy(const std::vector<std::uint8_t>& bytes);
/**
 * Writes to the second ISA serial port (COM2), past its driver, by port I/O: for a guest whose port takes bytes at once. The driver's way
 * takes 20 microseconds for each byte there.
 */
void writeSecondSerialPort(const std::vector<std::uint8_t>& bytes);
int mceKillPolicy(std::string_view name);
void setMceKillPolicy(int policy);
void finitModule(int fd, const std::string& parameters);
void deleteModule(const std::string& name);
int rebootCommand(std::string_view name);
void rebootMachine(int command);
/** Bytes read; SystemFailure if none could be. */
std::size_t processVmRead(int pid, std::uint64_t address, std::uint8_t* to, std::size_t length);

struct ClockCost {
  double resolutionNs;  // what the kernel says; of the TSC one tick
  double overheadNs;    // one reading, median
};
struct Clocks {
  ClockCost raw, monotonic, tsc;
  double tscPerNs;  // 0 without a TSC
};
Clocks measureClocks();

}  // namespace daxrig

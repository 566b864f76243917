// Collects which functions the kernel's function tracer saw: a thread empties the ring buffers of a tracing instance
// while a workload runs, and keeps a count per address. Pages are in the format of events/header_page and header_event
// (kernel/trace/ring_buffer.c).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "fd.h"

namespace daxrig {

struct FunctionHits {
  std::unordered_map<std::uint64_t, std::uint64_t> byAddress;
  /** Pages before which the kernel had dropped events. */
  std::uint64_t missed = 0;
};

/** Adds the function events of one ring buffer page. Anything that is no such page, or is cut off, adds nothing. */
void readTracePage(const std::uint8_t* page, std::size_t length, std::uint16_t event, std::size_t addressAt, FunctionHits& hits);

class TraceCollector {
 public:
  /** Follows per_cpu/cpuN/trace_pipe_raw below a tracing instance's folder. */
  TraceCollector(const std::string& instance, std::uint16_t event, std::size_t addressAt);
  ~TraceCollector();
  TraceCollector(const TraceCollector&) = delete;
  TraceCollector& operator=(const TraceCollector&) = delete;

  /** Reads what is left (tracing must be off by now), ends the thread, gives the counts. Throws what the thread met. */
  FunctionHits finish();

 private:
  void follow();
  bool drain();

  std::vector<Fd> fds_;
  std::uint16_t event_;
  std::size_t addressAt_;
  FunctionHits hits_;
  std::atomic<bool> stop_{false};
  std::atomic<int> errno_{0};
  std::vector<std::uint8_t> buffer_;
  std::thread thread_;
};

}  // namespace daxrig

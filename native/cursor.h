// Reads a flat list of arguments one after another, with the checks of binding.h: how programs (races, timed rounds) come in.
#pragma once

#include <string>

#include "binding.h"

namespace daxrig {

class Cursor {
 public:
  explicit Cursor(Args& args) : args_(args) {}

  bool boolean(const char* name) { return args_.boolean(at_++, name); }
  std::uint64_t size(const char* name, std::uint64_t low = 0, std::uint64_t high = Args::kMaxSafe) {
    return static_cast<std::uint64_t>(args_.integer(at_++, name, static_cast<std::int64_t>(low), static_cast<std::int64_t>(high)));
  }
  std::int64_t integer(const char* name, std::int64_t low, std::int64_t high) { return args_.integer(at_++, name, low, high); }
  std::uint64_t word(const char* name) { return args_.word(at_++, name); }
  std::string text(const char* name) { return args_.text(at_++, name); }
  /** Of a handle, or none for 0. */
  std::shared_ptr<Region> region() { return args_.number(at_, "mapping") == 0 ? (++at_, nullptr) : args_.region(at_++); }

 private:
  Args& args_;
  std::size_t at_ = 0;
};

}  // namespace daxrig

// The two ways in which a primitive can fail, as C++ exceptions. Both are turned into JavaScript errors in one place
// (binding.cc); nothing else is thrown on purpose.
#pragma once

#include <cerrno>
#include <string>

namespace daxrig {

/** A system call failed. Becomes an Error with code, errno and syscall. */
struct SystemFailure {
  int number;
  const char* call;
};

/** An argument that cannot be used. Becomes a TypeError or a RangeError. */
struct BadArgument {
  enum class Kind { Type, Range };
  Kind kind;
  std::string message;
};

[[noreturn]] inline void failWithErrno(const char* call) { throw SystemFailure{errno, call}; }

/** The result of a system call, or SystemFailure when it is -1. */
template <class Result>
Result check(Result result, const char* call) {
  if (result == static_cast<Result>(-1)) failWithErrno(call);
  return result;
}

/** The same for mmap(2) and mremap(2), which say MAP_FAILED. */
inline void* check(void* result, const char* call) {
  if (result == reinterpret_cast<void*>(-1)) failWithErrno(call);
  return result;
}

/** Repeats a call while a signal interrupts it. */
template <class Call>
auto retryInterrupted(Call call) {
  for (;;) {
    auto result = call();
    if (result != -1 || errno != EINTR) return result;
  }
}

/** "EFAULT" of EFAULT, or nullptr for a number that has no name on this architecture. */
const char* errnoName(int number) noexcept;

}  // namespace daxrig

// The fault guard: a scope with its own address range, inside which SIGBUS and SIGSEGV are data.
//
// Scopes nest per thread; a fault unwinds to the innermost scope whose range holds the address, and a fault outside every
// range goes on to the handler that was installed before ours (V8 has one). Action-optional memory-failure signals are never
// jumped from: they are kept in a ring until drained.
#pragma once

#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

namespace daxrig {

/** What siginfo_t said of a fault; signal is 0 when there was none. */
struct Fault {
  int signal = 0;
  int code = 0;
  std::uintptr_t address = 0;
  int lsb = 0;  // only for BUS_MCEERR_*: log2 of the bytes lost
};

/** A BUS_MCEERR_AO signal as it came in. */
struct OptionalSignal {
  std::uintptr_t address;
  int lsb;
  int thread;             // tid that the kernel chose to tell
  std::int64_t timeNs;    // CLOCK_MONOTONIC
};

enum class OnFault {
  Jump,    // leave the body: for bodies that access the memory themselves
  Record,  // note an action-required signal and go on: for system calls, which the kernel completes before it signals
};

/** Installs the handlers, once per process. Called when the addon is loaded. */
void installGuard();

/** Takes the recorded action-optional signals, oldest first; returns how many were overwritten since the last call. */
std::uint64_t drainOptionalSignals(std::vector<OptionalSignal>& into);

/** Threads of libuv's pool may have signals blocked, and a blocked fault kills: unblocks both, once per thread. */
void unblockFaultSignals() noexcept;

namespace detail {
struct Scope {
  std::uintptr_t begin;
  std::uintptr_t length;
  OnFault onFault;
  unsigned recorded;
  Fault fault;
  Scope* outer;
  sigjmp_buf resume;
};
using Body = void (*)(void*) noexcept;
void run(Scope* scope, Body body, void* context) noexcept;
}  // namespace detail

/**
 * Runs body, a callable whose frames hold only trivially destructible locals, and returns the fault that ended it (or, with
 * OnFault::Record, that it met). What the body has to leave behind for after a fault it writes through volatile.
 */
template <class Body>
Fault guarded(const void* begin, std::size_t length, OnFault onFault, Body body) noexcept {
  static_assert(std::is_trivially_destructible_v<Body>, "a jump skips destructors");
  detail::Scope scope{};
  scope.begin = reinterpret_cast<std::uintptr_t>(begin);
  scope.length = length;
  scope.onFault = onFault;
  detail::run(&scope, [](void* context) noexcept { (*static_cast<Body*>(context))(); }, &body);
  return scope.fault;
}

}  // namespace daxrig

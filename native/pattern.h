// Known contents for memory and files: one byte repeated, or 8-byte words each of which says where it belongs.
#pragma once

#include <cstddef>
#include <cstdint>

namespace daxrig {

/** A word is mix(start + index * kStep), splitmix64's output function: every bit depends on seed and position. */
namespace words {
constexpr std::uint64_t kStep = 0x9e3779b97f4a7c15;
constexpr std::uint64_t kMul1 = 0xbf58476d1ce4e5b9;
constexpr std::uint64_t kMul2 = 0x94d049bb133111eb;

constexpr std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * kMul1;
  z = (z ^ (z >> 27)) * kMul2;
  return z ^ (z >> 31);
}

/** Inverse of an odd factor modulo 2^64, by Newton's iteration. */
constexpr std::uint64_t inverse(std::uint64_t odd) {
  std::uint64_t x = odd;
  for (int i = 0; i < 6; ++i) x *= 2 - odd * x;
  return x;
}

constexpr std::uint64_t unmix(std::uint64_t z) {
  z ^= (z >> 31) ^ (z >> 62);
  z *= inverse(kMul2);
  z ^= (z >> 27) ^ (z >> 54);
  z *= inverse(kMul1);
  return z ^ (z >> 30) ^ (z >> 60);
}

constexpr std::uint64_t start(std::uint64_t seed) { return mix(seed ^ 0x6a09e667f3bcc908); }
constexpr std::uint64_t at(std::uint64_t startOfSeed, std::uint64_t index) { return mix(startOfSeed + index * kStep); }
constexpr std::uint64_t indexOf(std::uint64_t startOfSeed, std::uint64_t word) {
  return (unmix(word) - startOfSeed) * inverse(kStep);
}
static_assert(indexOf(start(7), at(start(7), 123456789)) == 123456789);
}  // namespace words

struct Pattern {
  enum class Kind { Byte, Words };
  Kind kind;
  std::uint8_t byte;
  std::uint64_t seed;
  std::uint64_t base;  // bytes; the position of the first byte, a multiple of 8 for words
};

/** What a comparison found; counts are in the pattern's unit: bytes, or 8-byte words. */
struct Verdict {
  std::uint64_t done = 0;  // bytes compared
  std::uint64_t mismatches = 0;
  std::uint64_t firstOffset = 0;  // bytes from the start of the comparison
  std::uint64_t expected = 0;
  std::uint64_t actual = 0;
  bool misplaced = false;       // the first wrong word is this pattern's word of another place:
  std::uint64_t belongsAt = 0;  // its position in bytes, counted like base
};

}  // namespace daxrig

// Tables between the kernel's numbers and the names that JavaScript uses.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "errors.h"

namespace daxrig {

struct Name {
  const char* name;
  long value;
};

/** The value of a name; a RangeError that lists the names otherwise. */
template <std::size_t size>
long valueOf(const Name (&table)[size], std::string_view wanted, const char* what) {
  for (const Name& entry : table)
    if (wanted == entry.name) return entry.value;
  std::string message = std::string(what) + " is none of:";
  for (const Name& entry : table) (message += ' ') += entry.name;
  throw BadArgument{BadArgument::Kind::Range, message};
}

template <std::size_t size>
const char* nameOf(const Name (&table)[size], long value) {
  for (const Name& entry : table)
    if (value == entry.value) return entry.name;
  return nullptr;
}

/** "BUS_ADRERR" of SIGBUS and 2, or the number of a code without a name. */
std::string faultCodeText(int signal, int code);
/** "EFAULT", or "E1234" for a number without a name. */
std::string codeText(int number);

}  // namespace daxrig

#include "names.h"

#include <signal.h>

namespace daxrig {
namespace {

// sigaction(2); numbers, since older headers lack the newer names.
constexpr Name kBusCodes[] = {
    {"BUS_ADRALN", 1}, {"BUS_ADRERR", 2}, {"BUS_OBJERR", 3}, {"BUS_MCEERR_AR", 4}, {"BUS_MCEERR_AO", 5}};
constexpr Name kSegvCodes[] = {{"SEGV_MAPERR", 1}, {"SEGV_ACCERR", 2}, {"SEGV_BNDERR", 3}, {"SEGV_PKUERR", 4},
                               {"SEGV_ACCADI", 5}, {"SEGV_ADIDERR", 6}, {"SEGV_ADIPERR", 7}, {"SEGV_MTEAERR", 8},
                               {"SEGV_MTESERR", 9}, {"SEGV_CPERR", 10}};

}  // namespace

std::string faultCodeText(int signal, int code) {
  const char* known = signal == SIGBUS ? nameOf(kBusCodes, code) : nameOf(kSegvCodes, code);
  return known != nullptr ? known : std::to_string(code);
}

std::string codeText(int number) {
  const char* known = errnoName(number);
  return known != nullptr ? known : "E" + std::to_string(number);
}

}  // namespace daxrig

// A kernel's fault, as an exception. Inside a kernel nothing is thrown: the thread is left where it
// stands, the launch is given up, and the launching thread throws.
#pragma once

#include <stdexcept>
#include <string>

namespace simt {

class Fault : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Ends the launch on behalf of the running thread, which the message will name with its kernel and block.
[[noreturn]] void fail(const std::string& what);

}  // namespace simt

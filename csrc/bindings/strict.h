// Strict mode: an error in the place of a slower way.
#pragma once

#include <stdexcept>
#include <string>

namespace fusedlstm::bindings {

// fusedlstm.FallbackError.
struct FallbackError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Every slower way that a call may take by itself begins here: throws FallbackError if the calling thread is
// in strict mode. `reason` says what makes it necessary.
void fall_back(const std::string& reason);

// Throws in strict mode if the scalar kernels are the only ones this process can run.
void check_kernels();

}  // namespace fusedlstm::bindings

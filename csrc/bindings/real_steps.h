// The real steps of each row, as Python says them.
#pragma once

#include "../cpu/real_steps.h"
#include "checks.h"

namespace fusedlstm::bindings {

// From None or integers (B,), with padding on the right, or None or booleans (B,T); not both.
RealSteps checked_steps(const py::object& lengths, const py::object& mask, bool zero_output_for_mask,
                        bool go_backwards, Index batch, Index steps);

}  // namespace fusedlstm::bindings

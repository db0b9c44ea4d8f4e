#include "device.cuh"
#include "plan.h"

namespace fusedlstm::cuda {

DeviceProperties current_device() { return device_properties<DeviceProperties>(); }

}  // namespace fusedlstm::cuda

// The number types of arrays, for kernels that store all of them.
#pragma once

#include "device.cuh"
#include "sequence.h"

#define FUSEDLSTM_FOR_EACH_NUMBER_TYPE(instantiate) \
  instantiate(float) instantiate(double) instantiate(__half) instantiate(__nv_bfloat16)

// The 16-bit number types by CUDA's names, for code that is no kernel: CUDA's own, or the simulator's.
#pragma once

#ifdef FUSEDLSTM_SIMULATED
  #include "../simt/numbers.h"
#else
  #include <cuda_bf16.h>
  #include <cuda_fp16.h>
#endif

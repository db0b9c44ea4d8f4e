// CUDA's name for a stream, for code that passes one on and needs no more of CUDA.
#pragma once

using cudaStream_t = struct CUstream_st*;

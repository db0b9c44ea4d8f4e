# CUDA sources compiled by the host compiler, for the simulated GPU of this folder. Never installed.

add_library(simt_machine OBJECT
  csrc/simt/async.cpp
  csrc/simt/collectives.cpp
  csrc/simt/fiber.cpp
  csrc/simt/hooks.cpp
  csrc/simt/image.cpp
  csrc/simt/machine.cpp
  csrc/simt/memory.cpp
  csrc/simt/module.cpp
  csrc/simt/reports.cpp
  csrc/simt/schedule.cpp
  csrc/simt/shadow.cpp
  csrc/simt/tensor.cpp)
target_link_libraries(simt_machine PRIVATE fusedlstm_options pybind11::module)

# An extension module of kernels: add_simt_module(name sources...). The .cu files among its sources are compiled
# with the sanitizers' instrumentation, which hooks.cpp answers; its own libraries are not linked. Clang leaves
# out reads that a write of the same place follows, unless told not to.
function(add_simt_module name)
  pybind11_add_module(${name} MODULE NO_EXTRAS ${ARGN} $<TARGET_OBJECTS:simt_machine>)
  target_link_libraries(${name} PRIVATE fusedlstm_options)
  foreach(source ${ARGN})
    if(source MATCHES "\\.cu$")
      set_source_files_properties(${source} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS
        "-xc++;$<IF:$<CONFIG:Debug>,-O0,-O2>;-g1;-Wno-unknown-pragmas;-fsanitize=thread,alignment,bounds;$<$<CXX_COMPILER_ID:Clang>:-mllvm;-tsan-instrument-read-before-write=1>")
    endif()
  endforeach()
endfunction()

add_simt_module(_simt
  csrc/cuda/array_bindings.cpp
  csrc/cuda/bindings.cpp
  csrc/cuda/cell.cu
  csrc/cuda/column_sums.cu
  csrc/cuda/ctc.cu
  csrc/cuda/current_device.cu
  csrc/cuda/elementwise.cu
  csrc/cuda/grid_bfloat16.cu
  csrc/cuda/grid_double.cu
  csrc/cuda/grid_float.cu
  csrc/cuda/grid_float16.cu
  csrc/cuda/grid_layout.cpp
  csrc/cuda/grid_tf32.cu
  csrc/cuda/plan.cpp
  csrc/cuda/small_bfloat16.cu
  csrc/cuda/small_float16.cu
  csrc/cuda/small_sequence.cu
  csrc/cuda/staged_layout.cpp
  csrc/cuda/steps.cu
  csrc/cuda/updates.cu
  csrc/simt/extension.cpp)
target_compile_definitions(_simt PRIVATE FUSEDLSTM_SIMULATED)
add_simt_module(_simt_tests
  tests/simulated_gpu/kernels/bindings.cpp
  tests/simulated_gpu/kernels/correct.cu
  tests/simulated_gpu/kernels/faulty.cu)
add_custom_target(simt DEPENDS _simt _simt_tests)

# The CUDA kernels as the extension module _cuda, where there is a CUDA compiler of version 12 or 13.
#
# FUSEDLSTM_CUDA: AUTO compiles them where there are a GPU and a compiler that can, and otherwise goes on without and says why;
# ON stops where there is no such compiler; OFF never looks. It is looked for in CMAKE_CUDA_COMPILER and CUDACXX, on the PATH,
# in /usr/local/cuda, and among the running Python's packages, where pip install nvidia-cuda-nvcc nvidia-cuda-cccl puts it.
# In the end cuda_missing says why there are no kernels, or is empty.

set(FUSEDLSTM_CUDA AUTO CACHE STRING "Compile the CUDA kernels: AUTO, where a GPU and a CUDA compiler are found; ON; OFF")
# Machine code runs on later devices of the same major version too: 80 on 86 to 89, 100 on 103, 120 on 121.
# PTX is there besides, of the last one but at most of 90, from which drivers make code for devices that are
# later still.
set(FUSEDLSTM_CUDA_ARCHITECTURES "" CACHE STRING "Architectures of the CUDA kernels: some, for example 80;90; native, those of \
this machine's GPUs; all, those of 75;80;90;100;110;120 that the compiler has. By default native, or with FUSEDLSTM_CUDA=ON and \
without a GPU all")
option(FUSEDLSTM_CUDA_REPORT "Log what the CUDA compiler says of each kernel's resources, and compile the tests' kernels too" OFF)

string(TOUPPER "${FUSEDLSTM_CUDA}" FUSEDLSTM_CUDA_CHOICE)
if(NOT FUSEDLSTM_CUDA_CHOICE MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "FUSEDLSTM_CUDA: expected AUTO, ON or OFF, got ${FUSEDLSTM_CUDA}")
endif()
if(NOT FUSEDLSTM_CUDA_ARCHITECTURES MATCHES "^(|native|all|[0-9]+([;,][0-9]+)*)$")
  message(FATAL_ERROR "FUSEDLSTM_CUDA_ARCHITECTURES: expected native, all, or numbers as in 80;90, got ${FUSEDLSTM_CUDA_ARCHITECTURES}")
endif()
if(FUSEDLSTM_CUDA_CHOICE STREQUAL "OFF")
  set(cuda_missing "FUSEDLSTM_CUDA is OFF")
elseif(FUSEDLSTM_SIMT)
  set(cuda_missing "this build has them for the simulated GPU (FUSEDLSTM_SIMT), and a source file has one language")
else()
  include(${CMAKE_CURRENT_LIST_DIR}/toolkit.cmake)
  find_cuda()
endif()
if(cuda_missing)
  if(FUSEDLSTM_CUDA_CHOICE STREQUAL "ON")
    message(FATAL_ERROR "FUSEDLSTM_CUDA is ON, but ${cuda_missing}")
  endif()
  message(STATUS "CUDA kernels: not compiled: ${cuda_missing}")
  return()
endif()

# Kernels whose products are those of tensor cores need 80 or later. For 75 alone they are there too, and never run.
set(cuda_tensor_architectures ${cuda_architectures})
list(FILTER cuda_tensor_architectures EXCLUDE REGEX "^7")
if(NOT cuda_tensor_architectures)
  set(cuda_tensor_architectures 80)
endif()

# nvcc has had C++20 since CUDA 12; CMake learned that in 3.25.2, after Debian 12 took it.
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
endif()

# Object files of kernels: add_cuda_kernels(name architectures sources...). As number.cuh asks, nvcc does not make one
# operation of a multiply and an add. Machine code is compressed, which leaves a fifth of it.
function(add_cuda_kernels name architectures)
  add_library(${name} OBJECT ${ARGN})
  # Half of a compilation is that to PTX. Kernels use nothing that came after 90, so later ones share its.
  set(virtuals "")
  foreach(number ${architectures})
    set(virtual ${number})
    if(virtual GREATER 90)
      set(virtual 90)
    endif()
    list(APPEND virtuals ${virtual})
    list(APPEND codes_of_${virtual} sm_${number})
  endforeach()
  list(APPEND codes_of_${virtual} compute_${virtual})
  list(REMOVE_DUPLICATES virtuals)
  foreach(virtual ${virtuals})
    list(JOIN codes_of_${virtual} "," codes)
    target_compile_options(${name} PRIVATE "-gencode=arch=compute_${virtual},code=[${codes}]")
  endforeach()
  set(compress "--compress-mode=size")
  if(nvcc_version VERSION_LESS 13)
    set(compress "-Xfatbin=-compress-all") # What every driver for CUDA 12 can read.
  endif()
  set_target_properties(${name} PROPERTIES CUDA_ARCHITECTURES OFF CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON
    CUDA_EXTENSIONS OFF CUDA_VISIBILITY_PRESET hidden)
  target_compile_options(${name} PRIVATE --fmad=false ${compress} -Xcompiler=-Wall,-Wextra)
  if(FUSEDLSTM_WERROR)
    target_compile_options(${name} PRIVATE -Werror all-warnings -Xcompiler=-Werror -Xptxas=--warning-as-error)
  endif()
  if(FUSEDLSTM_CUDA_REPORT) # One architecture after the other, whose lines are not mixed then.
    target_compile_options(${name} PRIVATE -Xptxas=-v)
    set_target_properties(${name} PROPERTIES
      CUDA_COMPILER_LAUNCHER "${Python_EXECUTABLE};${CMAKE_CURRENT_FUNCTION_LIST_DIR}/log_compiler.py")
  else()
    target_compile_options(${name} PRIVATE --threads=0)
  endif()
endfunction()

set(cuda_sources
  csrc/cuda/cell.cu
  csrc/cuda/column_sums.cu
  csrc/cuda/ctc.cu
  csrc/cuda/current_device.cu
  csrc/cuda/elementwise.cu
  csrc/cuda/grid_double.cu
  csrc/cuda/grid_float.cu
  csrc/cuda/small_sequence.cu
  csrc/cuda/steps.cu
  csrc/cuda/updates.cu)
set(cuda_tensor_sources
  csrc/cuda/grid_bfloat16.cu
  csrc/cuda/grid_float16.cu
  csrc/cuda/grid_tf32.cu
  csrc/cuda/small_bfloat16.cu
  csrc/cuda/small_float16.cu)

# Said before it starts; pip shows it with --verbose. A file keeps one core busy.
list(LENGTH cuda_architectures cuda_count)
list(LENGTH cuda_sources cuda_files)
list(LENGTH cuda_tensor_sources cuda_tensor_files)
math(EXPR cuda_files "${cuda_files} + ${cuda_tensor_files}")
set(cuda_cores "$ENV{CMAKE_BUILD_PARALLEL_LEVEL}")
if(NOT cuda_cores MATCHES "^[1-9][0-9]*$")
  execute_process(COMMAND "${Python_EXECUTABLE}" -c "import os; print(len(os.sched_getaffinity(0)))"
    OUTPUT_VARIABLE cuda_cores OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT cuda_cores MATCHES "^[1-9][0-9]*$")
  cmake_host_system_information(RESULT cuda_cores QUERY NUMBER_OF_LOGICAL_CORES)
endif()
if(cuda_cores GREATER cuda_files)
  set(cuda_cores ${cuda_files})
endif()
# Processor seconds, measured with nvcc 13.0 on a server: 110 for what is done once, and 70 for each architecture.
math(EXPR cuda_minutes "(110 + 70 * ${cuda_count}) / (60 * ${cuda_cores}) + 1")
list(JOIN cuda_architectures ", " cuda_numbers)
message(STATUS "CUDA kernels: compiled by nvcc ${nvcc_version}, ${nvcc}: ${cuda_files} files for ${cuda_numbers}, about "
  "${cuda_minutes} min on ${cuda_cores} cores; FUSEDLSTM_CUDA=OFF leaves them out, FUSEDLSTM_CUDA_ARCHITECTURES takes others")
add_cuda_kernels(cuda_kernels "${cuda_architectures}" ${cuda_sources})
add_cuda_kernels(cuda_tensor_kernels "${cuda_tensor_architectures}" ${cuda_tensor_sources})
pybind11_add_module(_cuda MODULE
  csrc/cuda/array_bindings.cpp
  csrc/cuda/bindings.cpp
  csrc/cuda/grid_layout.cpp
  csrc/cuda/module.cpp
  csrc/cuda/plan.cpp
  csrc/cuda/staged_layout.cpp
  $<TARGET_OBJECTS:cuda_kernels> $<TARGET_OBJECTS:cuda_tensor_kernels>)
list(JOIN cuda_architectures "," cuda_numbers)
target_compile_definitions(_cuda PRIVATE FUSEDLSTM_CUDA_ARCHITECTURES=${cuda_numbers})
target_include_directories(_cuda SYSTEM PRIVATE ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
target_link_libraries(_cuda PRIVATE fusedlstm_options)
# The CUDA runtime is a part of the module, and nobody else's.
set_target_properties(_cuda PROPERTIES LINKER_LANGUAGE CUDA CUDA_RUNTIME_LIBRARY Static)
target_link_options(_cuda PRIVATE "LINKER:--exclude-libs,ALL")
install(TARGETS _cuda LIBRARY DESTINATION fusedlstm)

if(FUSEDLSTM_CUDA_REPORT)
  add_cuda_kernels(cuda_test_kernels "${cuda_tensor_architectures}" tests/simulated_gpu/kernels/correct.cu tests/simulated_gpu/kernels/faulty.cu)
  add_custom_target(cuda DEPENDS _cuda cuda_test_kernels)
endif()

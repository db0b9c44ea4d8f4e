# The CUDA kernels as the extension module _cuda, where there is a CUDA compiler of version 12 or 13.
#
# FUSEDLSTM_CUDA: AUTO compiles them where such a compiler is found, ON stops where there is none, OFF never
# looks. It is looked for in CMAKE_CUDA_COMPILER and CUDACXX, on the PATH, in /usr/local/cuda, and among the
# running Python's packages, where pip install nvidia-cuda-nvcc nvidia-cuda-cccl puts it.

set(FUSEDLSTM_CUDA AUTO CACHE STRING "Compile the CUDA kernels: AUTO, where a CUDA compiler is found; ON; OFF")
# Machine code runs on later devices of the same major version too: 80 on 86 to 89, 100 on 103, 120 on 121.
# PTX is there besides, of the last one but at most of 90, from which drivers make code for devices that are
# later still.
set(FUSEDLSTM_CUDA_ARCHITECTURES "" CACHE STRING
  "Architectures of the CUDA kernels, for example 80;90; by default those of 75;80;90;100;110;120 that the compiler has")
option(FUSEDLSTM_CUDA_REPORT "Log what the CUDA compiler says of each kernel's resources, and compile the tests' kernels too" OFF)

string(TOUPPER "${FUSEDLSTM_CUDA}" FUSEDLSTM_CUDA_CHOICE)
if(NOT FUSEDLSTM_CUDA_CHOICE MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "FUSEDLSTM_CUDA: expected AUTO, ON or OFF, got ${FUSEDLSTM_CUDA}")
endif()
if(FUSEDLSTM_CUDA_CHOICE STREQUAL "OFF")
  message(STATUS "CUDA kernels: not compiled, as FUSEDLSTM_CUDA is OFF")
  return()
endif()

if(FUSEDLSTM_SIMT) # A source file has one language.
  if(FUSEDLSTM_CUDA_CHOICE STREQUAL "ON")
    message(FATAL_ERROR "FUSEDLSTM_CUDA is ON, and so is FUSEDLSTM_SIMT: each needs a build of its own")
  endif()
  message(STATUS "CUDA kernels: not compiled, as this build has them for the simulated GPU (FUSEDLSTM_SIMT)")
  return()
endif()

if(NOT CMAKE_CUDA_COMPILER) # A look that found nothing is not the last word on a machine.
  unset(CMAKE_CUDA_COMPILER CACHE)
  if(NOT DEFINED ENV{CUDACXX})
    find_program(FUSEDLSTM_NVCC nvcc
      PATHS /usr/local/cuda/bin "${Python_SITELIB}/nvidia/cu13/bin" "${Python_SITEARCH}/nvidia/cu13/bin")
    if(FUSEDLSTM_NVCC)
      set(ENV{CUDACXX} "${FUSEDLSTM_NVCC}")
    endif()
  endif()
endif()
set(cuda_hint "(pip install nvidia-cuda-nvcc nvidia-cuda-cccl brings one, and CUDACXX names one that is elsewhere)")
set(cuda_missing "")
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  set(cuda_missing "no CUDA compiler was found ${cuda_hint}")
else()
  set(CMAKE_CUDA_ARCHITECTURES OFF) # For CMake's own trials; targets say theirs.
  if(FUSEDLSTM_CUDA_CHOICE STREQUAL "AUTO")
    include(CheckLanguage)
    check_language(CUDA)
  endif()
  if(FUSEDLSTM_CUDA_CHOICE STREQUAL "AUTO" AND NOT CMAKE_CUDA_COMPILER)
    set(cuda_missing "$ENV{CUDACXX} could not compile CMake's trial program, and FUSEDLSTM_CUDA=ON shows why ${cuda_hint}")
  else()
    enable_language(CUDA)
    find_path(FUSEDLSTM_CCCL nv/target
      PATHS ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES} PATH_SUFFIXES cccl NO_DEFAULT_PATH)
    set(cuda_found "${CMAKE_CUDA_COMPILER_ID} ${CMAKE_CUDA_COMPILER_VERSION}, ${CMAKE_CUDA_COMPILER}")
    if(NOT CMAKE_CUDA_COMPILER_ID STREQUAL "NVIDIA" OR CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12
        OR CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 14)
      set(cuda_missing "expected nvcc of CUDA 12 or 13, got ${cuda_found} ${cuda_hint}")
    elseif(NOT FUSEDLSTM_CCCL)
      set(cuda_missing "${cuda_found} lacks CCCL's headers (pip install nvidia-cuda-cccl brings them)")
    endif()
  endif()
endif()
if(cuda_missing)
  if(FUSEDLSTM_CUDA_CHOICE STREQUAL "ON")
    message(FATAL_ERROR "FUSEDLSTM_CUDA is ON, but ${cuda_missing}")
  endif()
  message(STATUS "CUDA kernels: not compiled: ${cuda_missing}")
  return()
endif()

execute_process(COMMAND "${CMAKE_CUDA_COMPILER}" --list-gpu-code OUTPUT_VARIABLE cuda_known COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[0-9]+" cuda_known "${cuda_known}")
set(cuda_architectures "${FUSEDLSTM_CUDA_ARCHITECTURES}")
if(NOT cuda_architectures)
  set(cuda_architectures 75 80 90 100 110 120)
  foreach(number ${cuda_architectures})
    if(NOT number IN_LIST cuda_known)
      list(REMOVE_ITEM cuda_architectures ${number})
    endif()
  endforeach()
endif()
foreach(number ${cuda_architectures})
  if(NOT number IN_LIST cuda_known)
    message(FATAL_ERROR "FUSEDLSTM_CUDA_ARCHITECTURES: expected some of ${cuda_known}, got ${number}")
  endif()
endforeach()
list(SORT cuda_architectures COMPARE NATURAL)
# Kernels whose products are those of tensor cores need 80 or later.
set(cuda_tensor_architectures ${cuda_architectures})
list(FILTER cuda_tensor_architectures EXCLUDE REGEX "^7")
if(NOT cuda_tensor_architectures)
  message(FATAL_ERROR "FUSEDLSTM_CUDA_ARCHITECTURES: expected one of 80 or later, got ${cuda_architectures}")
endif()
message(STATUS "CUDA kernels: compiled by nvcc ${CMAKE_CUDA_COMPILER_VERSION}, ${CMAKE_CUDA_COMPILER}, "
  "for ${cuda_architectures}")

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
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 13)
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

add_cuda_kernels(cuda_kernels "${cuda_architectures}"
  csrc/cuda/cell.cu
  csrc/cuda/column_sums.cu
  csrc/cuda/current_device.cu
  csrc/cuda/elementwise.cu
  csrc/cuda/grid_double.cu
  csrc/cuda/grid_float.cu
  csrc/cuda/small_sequence.cu
  csrc/cuda/steps.cu
  csrc/cuda/updates.cu)
add_cuda_kernels(cuda_tensor_kernels "${cuda_tensor_architectures}"
  csrc/cuda/grid_bfloat16.cu
  csrc/cuda/grid_float16.cu
  csrc/cuda/grid_tf32.cu
  csrc/cuda/small_bfloat16.cu
  csrc/cuda/small_float16.cu)
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
  add_cuda_kernels(cuda_test_kernels "${cuda_tensor_architectures}" tests/simt/kernels/correct.cu tests/simt/kernels/faulty.cu)
  add_custom_target(cuda DEPENDS _cuda cuda_test_kernels)
endif()

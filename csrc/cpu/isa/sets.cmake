# The kernels once more for each instruction set, and the table that dispatch.cpp chooses from.

set(FUSEDLSTM_KERNELS "" CACHE STRING "One set and type of numbers to build alone, as in avx2/float, for work on kernels")

set(set_rows "")
set(set_names "")
set(product_rows "")
set(byte_rows "")
set(number_types float double)
set(number_names "float32 or float64")
if(FUSEDLSTM_KERNELS)
  if(NOT FUSEDLSTM_KERNELS MATCHES "^([a-z0-9_]+)/(float|double)$")
    message(FATAL_ERROR "FUSEDLSTM_KERNELS: expected a set and float or double, as in avx2/float, got ${FUSEDLSTM_KERNELS}")
  endif()
  set(only_set ${CMAKE_MATCH_1})
  set(number_types ${CMAKE_MATCH_2})
  string(REPLACE float float32 number_names "${number_types}")
  string(REPLACE double float64 number_names "${number_names}")
endif()
foreach(number float double)
  set(has_${number} false)
  if(number IN_LIST number_types)
    set(has_${number} true)
  endif()
endforeach()

# instruction_set(name PROCESSORS pattern [NEEDS features...] [FLAGS flags...]): a row of the table. Features are those
# that the processor and the operating system are asked for when the library is loaded.
function(instruction_set name)
  cmake_parse_arguments(PARSE_ARGV 1 row "" "PROCESSORS" "NEEDS;FLAGS")
  set(set_names "${set_names}, \"${name}\"" PARENT_SCOPE)
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "${row_PROCESSORS}" OR (only_set AND NOT name STREQUAL only_set))
    return()
  endif()
  set(usable true)
  foreach(feature IN LISTS row_NEEDS)
    string(APPEND usable " && __builtin_cpu_supports(\"${feature}\")")
  endforeach()
  set(set_rows "${set_rows} SET(${name}, ${usable})" PARENT_SCOPE)
  # Types of numbers apart, since these files take a compiler longest.
  foreach(number float double)
    set(kernels kernels_${name}_${number})
    if(number IN_LIST number_types)
      add_library(${kernels} OBJECT csrc/cpu/isa/kernels.cpp)
    else()
      add_library(${kernels} OBJECT csrc/cpu/isa/absent.cpp)
    endif()
    target_compile_definitions(${kernels} PRIVATE FUSEDLSTM_ISA=${name} FUSEDLSTM_VEC="vec_${name}.h"
      FUSEDLSTM_NUMBER=${number})
    target_compile_options(${kernels} PRIVATE ${row_FLAGS})
    if(FUSEDLSTM_SANITIZE)
      # Inlined, a kernel has thousands of scopes and pointers: watching the former and comparing the latter with null,
      # where a kernel would crash anyway, takes a compiler twice as long.
      target_compile_options(${kernels} PRIVATE -fno-sanitize-address-use-after-scope -fno-sanitize=null)
    endif()
    target_link_libraries(${kernels} PRIVATE fusedlstm_options)
    target_sources(fusedlstm_cpu INTERFACE $<TARGET_OBJECTS:${kernels}>)
  endforeach()
endfunction()

# product_set(name MULTIPLIES bfloat16|int8 EXTENDS set [NEEDS features...] [FLAGS flags...]): instructions that multiply
# shorter numbers, beside those of a set whose vectors are as wide. Only the kernels that multiply such are compiled for them.
# USABLE is asked besides the features.
function(product_set name)
  cmake_parse_arguments(PARSE_ARGV 1 row "" "MULTIPLIES;EXTENDS;USABLE" "NEEDS;FLAGS")
  set(set_names "${set_names}, \"${name}\"" PARENT_SCOPE)
  if(NOT TARGET kernels_${row_EXTENDS}_float OR NOT has_float)
    return()
  endif()
  set(usable true)
  foreach(feature IN LISTS row_NEEDS)
    string(APPEND usable " && __builtin_cpu_supports(\"${feature}\")")
  endforeach()
  if(row_USABLE)
    string(APPEND usable " && ${row_USABLE}")
  endif()
  set(bytes 0)
  if(row_MULTIPLIES STREQUAL "int8")
    set(bytes 1)
    set(byte_rows "${byte_rows} SET(${name}, ${row_EXTENDS}, ${usable})" PARENT_SCOPE)
  else()
    set(product_rows "${product_rows} SET(${name}, ${row_EXTENDS}, ${usable})" PARENT_SCOPE)
  endif()
  add_library(products_${name} OBJECT csrc/cpu/isa/products.cpp)
  get_target_property(definitions kernels_${row_EXTENDS}_float COMPILE_DEFINITIONS)
  list(FILTER definitions INCLUDE REGEX "FUSEDLSTM_VEC")
  get_target_property(options kernels_${row_EXTENDS}_float COMPILE_OPTIONS)
  if(NOT options) # a set without flags of its own
    set(options "")
  endif()
  target_compile_definitions(products_${name} PRIVATE FUSEDLSTM_ISA=${name} FUSEDLSTM_MULTIPLIES_BYTES=${bytes}
    ${definitions})
  target_compile_options(products_${name} PRIVATE ${options} ${row_FLAGS})
  target_link_libraries(products_${name} PRIVATE fusedlstm_options)
  target_sources(fusedlstm_cpu INTERFACE $<TARGET_OBJECTS:products_${name}>)
endfunction()

set(x86 "^(x86_64|AMD64)$")
set(arm "^(aarch64|arm64)$")

# Best first. A new set is a row here and its vec_<name>.h.
# GCC 12's own AVX-512 header warns about the undefined operands that it passes on purpose (GCC PR 105593).
instruction_set(avx512 PROCESSORS ${x86} NEEDS avx512f avx512bw avx512dq avx512vl
  FLAGS -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma
  $<$<CXX_COMPILER_ID:GNU>:-Wno-uninitialized> $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
instruction_set(avx2 PROCESSORS ${x86} NEEDS avx2 fma FLAGS -mavx2 -mfma)
instruction_set(neon PROCESSORS ${arm})
instruction_set(scalar PROCESSORS ".*")

string(REGEX REPLACE "^, " "" set_names "${set_names}")
if(NOT set_rows)
  message(FATAL_ERROR "FUSEDLSTM_KERNELS: expected one of ${set_names}, and of this architecture, got ${only_set}")
endif()

# Best first.
product_set(amx MULTIPLIES bfloat16 EXTENDS avx512 NEEDS avx512bf16 USABLE "has_bfloat16_tiles()"
  FLAGS -mavx512bf16 -mamx-tile -mamx-bf16)
product_set(avx512_bf16 MULTIPLIES bfloat16 EXTENDS avx512 NEEDS avx512bf16 FLAGS -mavx512bf16)
product_set(amx_int8 MULTIPLIES int8 EXTENDS avx512 NEEDS avx512vnni USABLE "has_int8_tiles()"
  FLAGS -mavx512vnni -mamx-tile -mamx-int8)
product_set(avx512_vnni MULTIPLIES int8 EXTENDS avx512 NEEDS avx512vnni FLAGS -mavx512vnni)
product_set(avx_vnni MULTIPLIES int8 EXTENDS avx2 USABLE "has_avx_vnni()" FLAGS -mavxvnni)
product_set(neon_dot MULTIPLIES int8 EXTENDS neon USABLE "has_dot_products()" FLAGS -march=armv8.2-a+dotprod)

file(CONFIGURE OUTPUT generated/instruction_sets.h @ONLY CONTENT [=[
// The table of csrc/cpu/isa/sets.cmake.
#pragma once
// SET(name, whether this machine can run it) for each set of this library, best first.
#define FUSEDLSTM_SETS(SET)@set_rows@
// SET(name, the set that it extends, whether this machine can run it), best first: those that multiply bfloat16, and int8.
#define FUSEDLSTM_PRODUCT_SETS(SET)@product_rows@
#define FUSEDLSTM_BYTE_SETS(SET)@byte_rows@
// Names of all sets there are, of other processors too.
#define FUSEDLSTM_SET_NAMES @set_names@
// Whether numbers have kernels here: both do, unless FUSEDLSTM_KERNELS chose one.
#define FUSEDLSTM_HAS_FLOAT @has_float@
#define FUSEDLSTM_HAS_DOUBLE @has_double@
#define FUSEDLSTM_NUMBER_NAMES "@number_names@"
]=])
target_include_directories(fusedlstm_cpu PUBLIC "${CMAKE_CURRENT_BINARY_DIR}/generated")

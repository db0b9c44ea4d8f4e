# The things that a build needs and cannot bring itself: a C++20 compiler, Python's headers, pybind11. Looked for here, since
# the words of CMake's own errors name no package that would help.

include(CheckLanguage)
include(CheckCXXSourceCompiles)

# Ends the build; the first line of the error says what to install.
function(ask_to_install what)
  cmake_parse_arguments(PARSE_ARGV 1 by "" "DEBIAN;FEDORA;MACOS;CONDA;DETAIL" "")
  message(FATAL_ERROR "Install ${what}:\n"
    "  Debian, Ubuntu: ${by_DEBIAN}\n  Fedora:         ${by_FEDORA}\n  macOS:          ${by_MACOS}\n  conda:          ${by_CONDA}\n"
    "${by_DETAIL}")
endfunction()

function(ask_for_compiler detail)
  ask_to_install("a C++20 compiler, gcc 11 or clang 14 or newer" DEBIAN "apt install g++" FEDORA "dnf install gcc-c++"
    MACOS "xcode-select --install" CONDA "conda install -c conda-forge cxx-compiler" DETAIL "${detail}")
endfunction()

# The line of a compiler's output that says most, in result; seconds are what it was given.
function(first_error result code output seconds)
  if(output MATCHES "[^\n]*([Ee]rror|fatal|not found|cannot find)[^\n]*" OR output MATCHES "[^\n]+")
    string(STRIP "${CMAKE_MATCH_0}" line)
  elseif(code MATCHES "timeout")
    set(line "nothing in ${seconds} seconds")
  else()
    set(line "nothing but its exit code, ${code}")
  endif()
  set(${result} "${line}" PARENT_SCOPE)
endfunction()

# What the kernels need of the compiler and its standard library.
set(cxx20_program "#include <atomic>
#include <charconv>
#include <numeric>
#include <span>
static_assert(__cplusplus >= 202002L);
int main() { return static_cast<int>(std::span<char>().size()); }
")

# Sets code and said to what a compiler ends with, given arguments in front of a program of C++20, and says.
macro(try_compiler)
  execute_process(COMMAND ${ARGV} -std=c++20 "${file}.cpp" -o "${file}" RESULT_VARIABLE code OUTPUT_VARIABLE said
    ERROR_VARIABLE said TIMEOUT 60)
endmacro()

# Ends the build where flags keep a compiler from compiling that works without them. They are the cache's, or else, as CMake
# takes them, the environment's. The arguments are the compiler's command.
function(check_flags)
  set(names "")
  set(flags "")
  set(entries CMAKE_CXX_FLAGS CMAKE_EXE_LINKER_FLAGS)
  set(variables CXXFLAGS LDFLAGS)
  foreach(entry variable IN ZIP_LISTS entries variables)
    set(name ${entry})
    set(text "${${entry}}")
    if(NOT DEFINED ${entry})
      set(name ${variable})
      set(text "$ENV{${variable}}")
    endif()
    separate_arguments(flags_of_${name} NATIVE_COMMAND "${text}")
    if(flags_of_${name})
      list(APPEND names ${name})
      list(APPEND flags ${flags_of_${name}})
    endif()
  endforeach()
  if(NOT names)
    return()
  endif()
  set(file "${CMAKE_BINARY_DIR}/CMakeFiles/requirements")
  file(WRITE "${file}.cpp" "${cxx20_program}")
  try_compiler(${ARGN} ${flags})
  if(code EQUAL 0)
    return()
  endif()
  first_error(line "${code}" "${said}" 60)
  try_compiler(${ARGN})
  if(NOT code EQUAL 0) # Flags are not the first thing to blame.
    return()
  endif()
  foreach(name ${names}) # Either alone, or only both.
    try_compiler(${ARGN} ${flags_of_${name}})
    if(NOT code EQUAL 0)
      first_error(line "${code}" "${said}" 60)
      set(names ${name})
      set(flags ${flags_of_${name}})
      break()
    endif()
  endforeach()
  list(JOIN names ", " names)
  list(JOIN flags " " flags)
  list(JOIN ARGN " " command)
  message(FATAL_ERROR "${names}: expected flags for a C++20 compiler, got\n"
    "  ${flags}\nWithout them ${command} compiles C++20; with them it said:\n  ${line}")
endfunction()

macro(require_compiler)
  if(NOT CMAKE_CXX_COMPILER) # A look that found nothing is not the last word on a machine.
    unset(CMAKE_CXX_COMPILER CACHE)
  endif()
  if(CMAKE_CXX_COMPILER) # From the command line, the last time, or a toolchain file.
    find_program(compiler_here "${CMAKE_CXX_COMPILER}" NO_CACHE)
    if(NOT compiler_here)
      ask_for_compiler("CMAKE_CXX_COMPILER is ${CMAKE_CXX_COMPILER}, and there is no such program.")
    endif()
    check_flags(${CMAKE_CXX_COMPILER})
  else()
    find_program(compiler_here NAMES c++ g++ clang++ PATHS ENV PATH NO_DEFAULT_PATH NO_CACHE)
    separate_arguments(compiler_command NATIVE_COMMAND "$ENV{CXX}")
    if(NOT compiler_command)
      set(compiler_command "${compiler_here}")
    endif()
    check_flags(${compiler_command})
    foreach(name CXXFLAGS LDFLAGS) # The check is a project of its own, which gets flags by the environment alone.
      set(given_${name} "$ENV{${name}}")
    endforeach()
    if(DEFINED CMAKE_CXX_FLAGS)
      set(ENV{CXXFLAGS} "${CMAKE_CXX_FLAGS}")
    endif()
    if(DEFINED CMAKE_EXE_LINKER_FLAGS)
      set(ENV{LDFLAGS} "${CMAKE_EXE_LINKER_FLAGS}")
    endif()
    check_language(CXX)
    foreach(name CXXFLAGS LDFLAGS)
      set(ENV{${name}} "${given_${name}}")
    endforeach()
    if(NOT CMAKE_CXX_COMPILER)
      if(NOT "$ENV{CXX}" STREQUAL "")
        set(compiler_asked "CXX is")
        if(SKBUILD) # scikit-build-core sets CXX where the user has not.
          set(compiler_asked "CXX, or without it the compiler that Python was made with, is")
        endif()
        ask_for_compiler("${compiler_asked} $ENV{CXX}, which is no program or cannot compile an empty one.")
      elseif(compiler_here)
        ask_for_compiler("${compiler_here} is there, but cannot compile an empty program.")
      endif()
      ask_for_compiler("There is none on the PATH.")
    endif()
    unset(CMAKE_CXX_COMPILER CACHE) # The check forgets arguments, as in CXX="ccache g++".
    unset(CMAKE_CXX_COMPILER)
  endif()
  enable_language(CXX)

  set(CMAKE_CXX_STANDARD 20)
  set(CMAKE_CXX_STANDARD_REQUIRED ON)
  set(CMAKE_CXX_EXTENSIONS OFF)
  if("cxx_std_20" IN_LIST CMAKE_CXX_COMPILE_FEATURES)
    check_cxx_source_compiles("${cxx20_program}" FUSEDLSTM_CXX20)
  endif()
  if(NOT FUSEDLSTM_CXX20)
    unset(FUSEDLSTM_CXX20 CACHE) # Another compiler may come to the same place.
    ask_for_compiler("${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}, ${CMAKE_CXX_COMPILER}, cannot compile C++20 with \
its standard library. CXX names another one.")
  endif()
endmacro()

macro(require_python)
  if(NOT DEFINED Python_FIND_IMPLEMENTATIONS)
    set(Python_FIND_IMPLEMENTATIONS CPython PyPy)
  endif()
  find_package(Python 3.10 QUIET COMPONENTS Interpreter Development.Module)
  if(NOT Python_Interpreter_FOUND)
    ask_to_install("Python 3.10 or newer" DEBIAN "apt install python3-dev" FEDORA "dnf install python3-devel"
      MACOS "brew install python" CONDA "conda install python" DETAIL "Python_EXECUTABLE names one: it is \"${Python_EXECUTABLE}\".")
  endif()
  if(NOT Python_Development.Module_FOUND)
    set(python_minor "${Python_VERSION_MAJOR}.${Python_VERSION_MINOR}")
    ask_to_install("the C headers of Python ${python_minor}" DEBIAN "apt install python${python_minor}-dev"
      FEDORA "dnf install python${python_minor}-devel, or python3-devel" MACOS "brew install python@${python_minor}"
      CONDA "conda install python=${python_minor}" DETAIL "There is no Python.h for ${Python_EXECUTABLE}.")
  endif()
  message(STATUS "Python: ${Python_VERSION}, ${Python_EXECUTABLE}")

  if(NOT pybind11_DIR)
    execute_process(COMMAND "${Python_EXECUTABLE}" -m pybind11 --cmakedir
      OUTPUT_VARIABLE pybind11_hint OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  set(PYBIND11_FINDPYTHON ON)
  find_package(pybind11 2.13 CONFIG QUIET HINTS "${pybind11_hint}")
  if(NOT pybind11_FOUND)
    set(pybind11_detail "pybind11_DIR names its folder of CMake files.")
    if(pybind11_CONSIDERED_VERSIONS)
      string(PREPEND pybind11_detail "Found ${pybind11_CONSIDERED_VERSIONS}, ${pybind11_CONSIDERED_CONFIGS}. ")
    endif()
    set(pybind11_pip "${Python_EXECUTABLE} -m pip install pybind11")
    ask_to_install("pybind11 2.13 or newer (pip install . brings its own)" DEBIAN "${pybind11_pip}" FEDORA "${pybind11_pip}"
      MACOS "${pybind11_pip}" CONDA "conda install -c conda-forge pybind11" DETAIL "${pybind11_detail}")
  endif()
endmacro()

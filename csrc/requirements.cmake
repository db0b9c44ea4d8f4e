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

macro(require_compiler)
  if(NOT CMAKE_CXX_COMPILER) # A look that found nothing is not the last word on a machine.
    unset(CMAKE_CXX_COMPILER CACHE)
  endif()
  if(CMAKE_CXX_COMPILER) # From the command line, the last time, or a toolchain file.
    find_program(compiler_here "${CMAKE_CXX_COMPILER}" NO_CACHE)
    if(NOT compiler_here)
      ask_for_compiler("CMAKE_CXX_COMPILER is ${CMAKE_CXX_COMPILER}, and there is no such program.")
    endif()
  else()
    check_language(CXX)
    if(NOT CMAKE_CXX_COMPILER)
      find_program(compiler_here NAMES c++ g++ clang++ PATHS ENV PATH NO_DEFAULT_PATH NO_CACHE)
      if(NOT "$ENV{CXX}" STREQUAL "")
        ask_for_compiler("CXX is $ENV{CXX}, which is no program or cannot compile an empty one.")
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
    check_cxx_source_compiles("#include <atomic>
      #include <charconv>
      #include <numeric>
      #include <span>
      static_assert(__cplusplus >= 202002L);
      int main() { return static_cast<int>(std::span<char>().size()); }" FUSEDLSTM_CXX20)
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

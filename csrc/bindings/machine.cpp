// Instruction sets, threads, what ran last, and the machine's multiply-add peak.
#include <pybind11/stl.h>

#include <atomic>
#include <chrono>
#include <optional>

#include "../cpu/cores.h"
#include "../cpu/dispatch.h"
#include "../cpu/openmp.h"
#include "../cpu/team.h"
#include "checks.h"
#include "compute.h"
#include "gil.h"
#include "instruction_sets.h"
#include "module.h"
#include "weights.h"

namespace fusedlstm::bindings {
namespace {

thread_local KernelRun last_run;
thread_local bool last_on_openmp = false;
// The text of a call that ran on another device since then, or empty.
thread_local std::string last_elsewhere;

std::string last_kernel() {
  if (!last_elsewhere.empty()) return last_elsewhere;
  if (last_run.operation == nullptr) return "none";
  std::string text = std::string("cpu ") + last_run.instruction_set +
                     (last_run.is_double ? " float64 " : " float32 ") + last_run.operation + ", " +
                     std::to_string(last_run.threads) + (last_on_openmp ? " OpenMP" : "") +
                     (last_run.threads == 1 ? " thread" : " threads");
  if (last_run.products != nullptr) {
    text += std::string(", ") + name_of(last_run.storage) + " products by " + last_run.products;
  } else if (last_run.storage != Storage::full)
    text += std::string(", ") + name_of(last_run.storage) + " weights";
  if (last_run.options) text += ", cell with options";
  if (last_run.projection) text += ", projection";
  if (last_run.layer_norm) text += ", layer-normalized";
  if (last_run.threads > 1) text += last_run.units_split ? ", unit split" : ", batch split";
  return text;
}

std::atomic<bool> threads_were_set{false};

std::string why_num_threads() { return threads_were_set ? "set_num_threads" : default_threads().why; }

// Calls body with a null pointer to the type of kernels that multiply such numbers.
template <class Body>
auto with_products(const py::object& compute, const Body& body) {
  return compute_of(compute, "'bfloat16' or 'int8'", true) == Storage::bytes
             ? body(static_cast<ByteKernels*>(nullptr))
             : body(static_cast<ProductKernels*>(nullptr));
}

double measure_peak(const std::string& dtype, int threads, double seconds) {
  const bool shorter = dtype == "bfloat16" || dtype == "int8";
  const bool known = (FUSEDLSTM_HAS_FLOAT && (dtype == "float32" || shorter)) ||
                     (FUSEDLSTM_HAS_DOUBLE && dtype == "float64");
  if (!known) raise_value("dtype", FUSEDLSTM_NUMBER_NAMES ", bfloat16 or int8", "'" + dtype + "'");
  if (threads < 1 || threads > max_threads) {
    raise_value("threads", "a number from 1 to " + std::to_string(max_threads), std::to_string(threads));
  }
  if (!(seconds > 0.0 && seconds <= 60.0))
    raise_value("seconds", "more than 0, at most 60", std::to_string(seconds));
  const KernelSet& set = kernels();
  const auto run = dtype == "float64"   ? set.f64.multiply_adds
                   : dtype == "float32" ? set.f32.multiply_adds
                   : dtype == "int8"    ? products<ByteKernels>(set).kernels.multiply_adds
                                        : products(set).kernels.multiply_adds;
  LongCall unlocked;
  using Clock = std::chrono::steady_clock;
  constexpr Index rounds = 20'000;
  TeamLease team({.threads = threads});
  double best = 0.0;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  do {
    double operations = 0.0;
    const auto start = Clock::now();
    team.share([&](int share) {
      const double own = run(rounds);
      if (share == 0) operations = own;
    });
    const double elapsed = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::max(best, operations * team.count() / elapsed * 1e-9);
  } while (Clock::now() < end && !Interruptible::leave(Index{1} << 40));
  unlocked.finish();
  return best;
}

}  // namespace

void note_run(const KernelRun& run) {
  last_run = run;
  last_on_openmp = run.threads > 1 && last_job_on_openmp();
  last_elsewhere.clear();
}

void bind_machine(py::module_& module) {
  module.def("instruction_sets", [] { return py::tuple(py::cast(instruction_sets())); });
  module.attr("number_types") = FUSEDLSTM_NUMBER_NAMES;
  module.def("get_instruction_set", [] { return kernels().name; });
  module.def("product_sets", [](const py::object& compute) {
    return with_products(compute, []<class Products>(Products*) {
      py::list names;
      for (const auto& set : product_sets<Products>(kernels())) names.append(set.name);
      return py::tuple(names);
    });
  });
  module.def("get_product_set", [](const py::object& compute) {
    return with_products(compute,
                         []<class Products>(Products*) { return products<Products>(kernels()).name; });
  });
  module.def("set_product_set", [](const py::object& name, const py::object& compute) {
    with_products(compute, [&]<class Products>(Products*) {
      if (!name.is_none() && !py::isinstance<py::str>(name))
        raise_type("name", "a str or None", type_name(name));
      set_product_set<Products>(name.is_none() ? std::string() : py::cast<std::string>(name));
    });
  });
  module.def(
      "set_instruction_set",
      [](const py::object& name) {
        if (!py::isinstance<py::str>(name)) raise_type("name", "a string", type_name(name));
        set_instruction_set(py::cast<std::string>(name));
      },
      py::arg("name"));
  module.def("get_num_threads", &num_threads, "Return how many threads a call may use.");
  module.def(
      "why_num_threads", &why_num_threads,
      "Return what decided `get_num_threads`: \"set_num_threads\", a variable of the environment, or what\n"
      "limits the cores, such as \"affinity mask: 1 of 2 cores\" or \"cgroup quota 1.5\".");
  module.def("openmp_threads", &openmp_threads, py::arg("text"));
  module.def("cgroup_quota", &cgroup_quota, py::arg("root"));
  module.def(
      "set_num_threads",
      [](const py::object& given) {
        if (given.is_none()) {
          forget_default_threads();
          set_num_threads(0);
          threads_were_set = false;
          return;
        }
        const bool number = !py::isinstance<py::bool_>(given) && PyIndex_Check(given.ptr()) != 0;
        const auto count = py::reinterpret_steal<py::object>(number ? PyNumber_Index(given.ptr()) : nullptr);
        if (!count) {
          PyErr_Clear();
          raise_type("count", "an integer or None", py::cast<std::string>(py::repr(given)));
        }
        int overflow = 0;
        const long value = PyLong_AsLongAndOverflow(count.ptr(), &overflow);
        if (overflow != 0 || value < 1 || value > max_threads) {
          raise_value("count", "a number from 1 to " + std::to_string(max_threads),
                      py::cast<std::string>(py::str(count)));
        }
        set_num_threads(static_cast<int>(value));
        threads_were_set = true;
      },
      py::arg("count"),
      "Let calls use up to `count` threads, 1 to 1024, or with None as many as the environment and the "
      "cores\n"
      "of the process say now. Raises ValueError for other numbers, TypeError for what is none.");
  module.def("join_openmp", &join_openmp, py::arg("library"));
  module.def("leave_openmp", &leave_openmp);
  module.def("last_kernel", &last_kernel);
  module.def("note_kernel", [](const std::string& text) { last_elsewhere = text; }, py::arg("text"));
  module.def("measure_peak", &measure_peak, py::arg("dtype"), py::arg("threads"), py::arg("seconds"));
}

}  // namespace fusedlstm::bindings

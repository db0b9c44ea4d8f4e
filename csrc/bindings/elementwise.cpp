// The cell alone, dropout and optimizer updates on NumPy arrays.
#include "../cpu/elementwise.h"

#include <array>
#include <cmath>
#include <limits>

#include "../math/named_rules.h"
#include "checks.h"
#include "gil.h"
#include "module.h"
#include "overlap.h"
#include "sizes.h"
#include "strict.h"

namespace fusedlstm::bindings {
namespace {

void check_cell_sizes(Index B, Index H) { check_sequence_sizes("c_prev", {B, 1, 0, H, H}, "H"); }

py::tuple cell_forward(const py::object& z, const py::object& c_prev) {
  check_kernels();
  const Number number = number_type("z", z);
  const Held state = contiguous("c_prev", c_prev, number, {{"B"}, {"H"}});
  const Index B = state.shape(0);
  const Index H = state.shape(1);
  check_cell_sizes(B, H);
  const Held input = contiguous("z", z, number, {{"B", B}, {"4H", kGates * H}});
  return with_number(number, [&](auto zero) {
    using T = decltype(zero);
    py::array h = new_array<T>({B, H});
    py::array c = new_array<T>({B, H});
    py::array gates = new_array<T>({B, kGates * H});
    T* h_out = mutable_data<T>(h);
    T* c_out = mutable_data<T>(c);
    T* gates_out = mutable_data<T>(gates);
    {
      LongCall unlocked;
      note_run(run_cell_forward(B, H, data_of<T>(input), data_of<T>(state), h_out, c_out, gates_out));
      unlocked.finish();
    }
    return py::make_tuple(h, c, gates);
  });
}

py::tuple cell_backward(const py::object& gates, const py::object& c_prev, const py::object& c,
                        const py::object& dh, const py::object& dc) {
  check_kernels();
  const Number number = number_type("gates", gates);
  const Held previous = contiguous("c_prev", c_prev, number, {{"B"}, {"H"}});
  const Index B = previous.shape(0);
  const Index H = previous.shape(1);
  check_cell_sizes(B, H);
  const Held activated = contiguous("gates", gates, number, {{"B", B}, {"4H", kGates * H}});
  const Held state = contiguous("c", c, number, {{"B", B}, {"H", H}});
  const Held dh_in = contiguous("dh", dh, number, {{"B", B}, {"H", H}});
  const Held dc_in = optional_contiguous("dc", dc, number, {{"B", B}, {"H", H}});
  return with_number(number, [&](auto zero) {
    using T = decltype(zero);
    py::array dz = new_array<T>({B, kGates * H});
    py::array dc_prev = new_array<T>({B, H});
    T* dz_out = mutable_data<T>(dz);
    T* dc_out = mutable_data<T>(dc_prev);
    {
      LongCall unlocked;
      note_run(run_cell_backward(B, H, data_of<T>(activated), data_of<T>(previous), data_of<T>(state),
                                 data_of<T>(dh_in), data_of<T>(dc_in), dz_out, dc_out));
      unlocked.finish();
    }
    return py::make_tuple(dz, dc_prev);
  });
}

// x and y as (rows, steps, features): 2-D and other arrays have one step.
py::array dropout(const py::object& x, double rate, std::uint64_t seed, bool share_steps,
                  const py::object& out_or_none) {
  check_kernels();
  const Number number = number_type("x", x);
  if (!(rate >= 0.0 && rate < 1.0)) raise_value("rate", "a number in [0, 1)", std::to_string(rate));
  const Held input = contiguous_of_any_shape("x", x, number);
  const py::array array = input.array();
  if (array.ndim() < 1) raise_value("x", "at least one dimension", "a scalar");
  if (share_steps && array.ndim() != 3)
    raise_value("x", "shape (B, T, I) to share steps", "shape " + shape_text(array));
  const Held target = !out_or_none.is_none()
                          ? direct_like("out", out_or_none, number, array, true)
                          : with_number(number, [&](auto zero) {
                              return Held::made_here(new_array<decltype(zero)>(shape_of(array)));
                            });
  if (target.data() != input.data() &&
      overlap(piece_of(target, bytes_of(number)), piece_of(input, bytes_of(number)))) {
    raise_value("out", "x itself or an array apart from it", "one that overlaps x");
  }
  if (input.size() == 0) return target.array();  // Its other sizes may be of any magnitude.
  const Index features = array.shape(array.ndim() - 1);
  const Index steps = share_steps ? array.shape(1) : 1;
  const Index rows = input.size() / (steps * features);
  if (features > std::numeric_limits<std::uint32_t>::max())
    raise_value("x", "fewer than 2^32 features", "more");
  with_number(number, [&](auto zero) {
    using T = decltype(zero);
    T* out = mutable_data<T>(target);
    const auto drop = [&] {
      note_run(run_dropout(rows, steps, features, share_steps, rate, seed, data_of<T>(input), out));
    };
    if (!out_or_none.is_none()) {
      const WithoutLock unlocked;
      return drop();
    }
    LongCall unlocked;
    drop();
    unlocked.finish();
  });
  return target.array();
}

// An argument of an optimizer update: an array for each of `count` parameters, in a list, or the one itself
// where the parameter is no list; or None for all. What a list holds is taken out of it once, since other
// threads may put in something else.
class PerParam {
 public:
  PerParam(const char* name, const py::object& argument, bool listed, std::size_t count)
      : name_(name), argument_(argument), listed_(listed) {
    if (argument.is_none() || !listed) return;
    const std::string expected = "a list of " + std::to_string(count) + ", like param";
    if (!is_list(argument)) raise_type(name, expected, type_name(argument));
    items_ = py::tuple(argument);
    if (items_.size() != count) raise_value(name, expected, "one of " + std::to_string(items_.size()));
  }

  static bool is_list(const py::object& object) {
    return py::isinstance<py::list>(object) || py::isinstance<py::tuple>(object);
  }

  py::object at(std::size_t i) const {
    if (argument_.is_none() || !listed_) return argument_;
    return items_[i];
  }
  std::string name(std::size_t i) const {
    return listed_ ? std::string(name_) + "[" + std::to_string(i) + "]" : std::string(name_);
  }

 private:
  const char* name_;
  py::object argument_;
  bool listed_;
  py::tuple items_;
};

// A count of updates, (), that goes up with one as far as Python can see: no signal comes between them.
class Iterations {
 public:
  explicit Iterations(const py::object& object) {
    if (object.is_none()) return;
    const std::string expected = "an array () of int64 that can be written, or None";
    if (!py::isinstance<py::array>(object)) raise_type("iterations", expected, type_name(object));
    const auto count = py::reinterpret_borrow<py::array>(object);
    if (!count.dtype().equal(py::dtype::of<std::int64_t>())) {
      raise_type("iterations", expected, "one of " + py::cast<std::string>(py::str(count.dtype())));
    }
    if (count.ndim() != 0) raise_value("iterations", expected, "shape " + shape_text(count));
    if (!count.writeable()) raise_value("iterations", expected, "one that is read-only");
    held_ = Held(count, pin_beside_threads());
    if (value() == std::numeric_limits<std::int64_t>::max()) {
      raise_value("iterations", "fewer than 2^63 - 1", std::to_string(value()));
    }
  }

  const Held& held() const { return held_; }

  void add_one() const {
    if (held_) ++value();
  }

 private:
  std::int64_t& value() const { return *static_cast<std::int64_t*>(held_.data()); }

  Held held_;
};

// The arrays of an optimizer update: of one parameter, those of one dtype and shape, all but the gradient
// written in place. All of them are checked before the first is written to.
class Update {
 public:
  // A slot's name, with the array of each parameter or None.
  using Slot = std::pair<const char*, py::object>;

  Update(const py::object& param, const py::object& grad, const UpdateSettings& settings,
         const py::object& weight_decay, const py::object& scale, const py::object& iterations)
      : listed_(PerParam::is_list(param)),
        count_(listed_ ? py::len(param) : 1),
        settings_(settings),
        params_("param", param, listed_, count_),
        grads_("grad", grad, listed_, count_),
        decays_("weight_decay", weight_decay, listed_ && PerParam::is_list(weight_decay), count_),
        scales_("scale", scale, listed_ && PerParam::is_list(scale), count_),
        iterations_(iterations) {
    check_kernels();
    if (!(settings.clip > 0.0)) raise_value("clipvalue", "a positive number", std::to_string(settings.clip));
  }

  // Runs the rule of this name on each parameter, with null pointers for slots that are None. Nothing but
  // checks happens between the first check and the update: numbers that are objects with code of their own
  // are asked before.
  void run(const std::string& rule, const std::vector<double>& rule_numbers, const std::vector<Slot>& slots) {
    const char* operation = nullptr;
    with_rule<float>(rule, settings_, rule_numbers, [&]<class Rule>(const Rule&) {
      operation = Rule::name;
      if (slots.size() != Rule::slots + 1) raise_value("slots", "those of the rule", "others");
    });
    const std::vector<double> decays = numbers(decays_);
    const std::vector<double> scales = numbers(scales_);
    std::vector<PerParam> arguments;
    for (const auto& [name, slot] : slots) arguments.emplace_back(name, slot, listed_, count_);
    const Pin pin = pin_beside_threads();
    std::vector<ParamUpdate> updates;
    Arrays used;
    Number number = Number::f32;
    for (std::size_t i = 0; i < count_; ++i) {
      const std::string name = params_.name(i);
      const py::object object = params_.at(i);
      number = number_type(name.c_str(), object);
      const auto param = py::reinterpret_borrow<py::array>(object);
      const auto hold = [&](const PerParam& argument, bool written) -> const Held& {
        const std::string full_name = argument.name(i);
        return used.add(full_name,
                        direct_like(full_name.c_str(), argument.at(i), number, param, written, pin), number,
                        written);
      };
      UpdateSettings settings = settings_;
      settings.weight_decay = decays[i];
      settings.scale = scales[i];
      with_number(number, [&](auto zero) {
        using T = decltype(zero);
        T* param_data = mutable_data<T>(hold(params_, true));
        const T* grad_data = data_of<T>(hold(grads_, false));
        std::vector<T*> slot_data;
        slot_data.reserve(arguments.size());
        for (const PerParam& argument : arguments) {
          slot_data.push_back(argument.at(i).is_none() ? nullptr : mutable_data<T>(hold(argument, true)));
        }
        with_rule<T>(rule, settings, rule_numbers, [&]<class Rule>(const Rule& made) {
          std::array<T*, Rule::slots + 1> data;
          std::copy(slot_data.begin(), slot_data.end(), data.begin());
          updates.push_back(make_update(made, Index{param.size()}, param_data, grad_data, data));
        });
      });
    }
    if (iterations_.held()) used.add("iterations", iterations_.held(), Number::f64, true);
    used.check_apart();
    {
      const WithoutLock unlocked;
      note_run(run_updates(operation, number == Number::f64, updates));
    }
    iterations_.add_one();
  }

 private:
  std::vector<double> numbers(const PerParam& argument) const {
    std::vector<double> result(count_);
    for (std::size_t i = 0; i < count_; ++i) {
      result[i] = PyFloat_AsDouble(argument.at(i).ptr());
      if (PyErr_Occurred() == nullptr) {
        if (std::isfinite(result[i])) continue;
        raise_value(argument.name(i), "a finite number", py::cast<std::string>(py::str(argument.at(i))));
      }
      if (PyErr_ExceptionMatches(PyExc_Exception) == 0) throw py::error_already_set();
      PyErr_Clear();
      raise_type(argument.name(i), "a number", type_name(argument.at(i)));
    }
    return result;
  }

  // The arrays of an update with their names, held until it is done.
  class Arrays {
   public:
    const Held& add(const std::string& name, Held array, Number number, bool written) {
      names_.push_back(name);
      pieces_.push_back({piece_of(array, bytes_of(number)), written});
      arrays_.push_back(std::move(array));
      return arrays_.back();
    }

    // An array that is written twice, or read and written, would hold what neither update means, and by two
    // threads at once. Gradients may share memory among themselves.
    void check_apart() const {
      const auto [before, after] = first_conflict(pieces_);
      if (before == pieces_.size()) return;
      raise_value(names_[after], "memory apart from that of the other arrays",
                  "an array that shares memory with " + names_[before]);
    }

   private:
    std::vector<std::string> names_;
    std::vector<Held> arrays_;
    std::vector<UsedPiece> pieces_;
  };

  bool listed_;
  std::size_t count_;
  UpdateSettings settings_;
  PerParam params_;
  PerParam grads_;
  PerParam decays_;
  PerParam scales_;
  Iterations iterations_;
};

void update(const std::string& rule, const py::object& param, const py::object& grad, const py::dict& slots,
            const py::tuple& numbers, double learning_rate, const py::object& weight_decay, double clipvalue,
            double ema_momentum, bool ema_overwrites, const py::object& scale, const py::object& iterations) {
  std::vector<double> own;
  for (const auto& number : numbers) own.push_back(py::cast<double>(number));
  std::vector<Update::Slot> named;
  for (const auto& [name, slot] : slots) {
    const char* text = PyUnicode_AsUTF8(name.ptr());
    if (text == nullptr) throw py::error_already_set();
    named.emplace_back(text, py::reinterpret_borrow<py::object>(slot));
  }
  Update(param, grad, {learning_rate, 0.0, clipvalue, 1.0, ema_momentum, ema_overwrites}, weight_decay, scale,
         iterations)
      .run(rule, own, named);
}

double squared_norm_of(const py::object& a) {
  check_kernels();
  const Number number = number_type("a", a);
  const Held values = contiguous_of_any_shape("a", a, number);
  return with_number(number, [&](auto zero) {
    LongCall unlocked;
    const double total = squared_norm(values.size(), data_of<decltype(zero)>(values));
    unlocked.finish();
    return total;
  });
}

}  // namespace

void bind_elementwise(py::module_& module) {
  module.def("cell_forward", &cell_forward);
  module.def("cell_backward", &cell_backward);
  module.def("dropout", &dropout);
  module.def("update", &update);
  module.def("squared_norm", &squared_norm_of);
}

}  // namespace fusedlstm::bindings

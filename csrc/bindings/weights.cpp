#include "weights.h"

#include "compute.h"
#include "gil.h"
#include "module.h"

namespace fusedlstm::bindings {
namespace {

// Sizes whose products would not fit 64 bits would fail to allocate long before; this catches the rest.
void check_sizes(Index inputs, Index units, Index outputs) {
  constexpr Index largest = Index{1} << 28;
  if (units < 1 || units > largest) raise_value("recurrent_kernel", "1 to 2^28 units", std::to_string(units));
  if (outputs < 1 || outputs > largest) {
    raise_value("projection", "1 to 2^28 columns", std::to_string(outputs));
  }
  if (inputs > largest) raise_value("kernel", "at most 2^28 inputs", std::to_string(inputs));
}

Storage storage_named(const py::object& name, const py::object& compute, Number number) {
  if (!compute.is_none()) {
    const Storage computed = compute_of_product(compute, number, "None, 'bfloat16' or 'int8'", true);
    if (name.is_none()) return computed;
    raise_value("storage", "None with compute, which says how weights are kept", "both");
  }
  if (name.is_none()) return Storage::full;
  const std::string expected = "None, 'bfloat16' or 'int8'";
  if (!py::isinstance<py::str>(name)) raise_type("storage", expected, type_name(name));
  const auto text = py::cast<std::string>(name);
  const Storage storage = text == "bfloat16" ? Storage::bfloat16
                          : text == "int8"   ? Storage::int8
                                             : Storage::full;
  if (storage == Storage::full) raise_value("storage", expected, "'" + text + "'");
  if (number == Number::f64) raise_value("storage", "None for float64 weights", "'" + text + "'");
  return storage;
}

}  // namespace

Weights::Weights(const py::object& kernel, const py::object& recurrent_kernel, const py::object& bias,
                 const py::object& projection, const py::object& storage, const py::object& compute)
    : number_(number_type("kernel", kernel)), storage_(storage_named(storage, compute, number_)) {
  projects_ = !projection.is_none();
  const py::array r =
      checked("recurrent_kernel", recurrent_kernel, number_, {{projects_ ? "R" : "H"}, {"4H"}});
  const py::array k = checked("kernel", kernel, number_, {{"I"}, {"4H"}});
  inputs_ = k.shape(0);
  units_ = outputs_ = r.shape(0);
  if (projects_) {
    const py::array p = checked("projection", projection, number_, {{"H"}, {"R"}});
    units_ = p.shape(0);
    outputs_ = p.shape(1);
  }
  pack(kernel, recurrent_kernel, bias, projection);
}

void Weights::update(const py::object& kernel, const py::object& recurrent_kernel, const py::object& bias,
                     const py::object& projection) {
  if (projection.is_none() == projects_) {
    raise_value("projection",
                projects_ ? "an array, as there has been a projection" : "None, as there has been none",
                projects_ ? "None" : type_name(projection));
  }
  pack(kernel, recurrent_kernel, bias, projection);
  ++version_;
}

void Weights::pack(const py::object& kernel, const py::object& recurrent_kernel, const py::object& bias,
                   const py::object& projection) {
  check_sizes(inputs_, units_, outputs_);
  const Held r = readable("recurrent_kernel", recurrent_kernel, number_,
                          {{outputs_letter(), outputs_}, {"4H", kGates * units_}});
  const Held k = readable("kernel", kernel, number_, {{"I", inputs_}, {"4H", kGates * units_}});
  const bool has_bias = !bias.is_none();
  const Held b = has_bias ? contiguous("bias", bias, number_, {{"4H", kGates * units_}}) : Held();
  const Held p =
      projects_ ? readable("projection", projection, number_, {{"H", units_}, {"R", outputs_}}) : Held();
  with_number(number_, [&](auto zero) {
    using T = decltype(zero);
    Panels<T> fresh;
    {
      LongCall unlocked;
      const typename LstmPanels<T>::Source source{data_of<T>(k),      stride_of<T>(k, 0), data_of<T>(r),
                                                  stride_of<T>(r, 0), data_of<T>(b),      data_of<T>(p),
                                                  stride_of<T>(p, 0)};
      fresh = std::make_shared<const LstmPanels<T>>(inputs_, units_, outputs_, source, storage_);
      unlocked.finish();
    }
    panels_ = std::move(fresh);
  });
  use_bias_ = has_bias;
}

py::tuple Weights::unpack() const {
  return with_number(number_, [&](auto zero) -> py::tuple {
    using T = decltype(zero);
    py::array kernel = new_array<T>({inputs_, kGates * units_});
    py::array recurrent_kernel = new_array<T>({outputs_, kGates * units_});
    py::array projection = projects_ ? new_array<T>({units_, outputs_}) : py::array();
    const Panels<T> packed = panels<T>();  // A share: update() may come meanwhile.
    T* kernel_out = mutable_data<T>(kernel);
    T* recurrent_out = mutable_data<T>(recurrent_kernel);
    T* projection_out = projects_ ? mutable_data<T>(projection) : nullptr;
    {
      LongCall unlocked;
      packed->unpack(kernel_out, recurrent_out, projection_out);
      unlocked.finish();
    }
    if (!projects_) return py::make_tuple(kernel, recurrent_kernel);
    return py::make_tuple(kernel, recurrent_kernel, projection);
  });
}

template <class T>
py::array Weights::per_column(typename LstmPanels<T>::PerColumn which, Index count) const {
  py::array columns = new_array<T>({count});
  panels<T>()->unpack(which, mutable_data<T>(columns));
  return columns;
}

py::object Weights::bias() const {
  if (!use_bias_) return py::none();
  return with_number(number_, [&](auto zero) -> py::object {
    using T = decltype(zero);
    return per_column<T>(LstmPanels<T>::PerColumn::bias, kGates * units_);
  });
}

py::object Weights::factors() const {
  if (storage_ != Storage::int8 && storage_ != Storage::bytes) return py::none();
  using Column = LstmPanels<float>::PerColumn;
  const py::array kernel = per_column<float>(Column::input_scale, kGates * units_);
  const py::array recurrent_kernel = per_column<float>(Column::recurrent_scale, kGates * units_);
  if (!projects_) return py::make_tuple(kernel, recurrent_kernel);
  return py::make_tuple(kernel, recurrent_kernel, per_column<float>(Column::projection_scale, outputs_));
}

void bind_weights(py::module_& module) {
  py::class_<Weights>(module, "LSTMWeights")
      .def(py::init<const py::object&, const py::object&, const py::object&, const py::object&,
                    const py::object&, const py::object&>(),
           py::arg("kernel"), py::arg("recurrent_kernel"), py::arg("bias") = py::none(), py::kw_only(),
           py::arg("projection") = py::none(), py::arg("storage") = py::none(),
           py::arg("compute") = py::none())
      .def("update", &Weights::update, py::arg("kernel"), py::arg("recurrent_kernel"),
           py::arg("bias") = py::none(), py::kw_only(), py::arg("projection") = py::none())
      .def("unpack", &Weights::unpack)
      .def_property_readonly("bias", &Weights::bias)
      .def_property_readonly("factors", &Weights::factors)
      .def_property_readonly("inputs", &Weights::inputs)
      .def_property_readonly("units", &Weights::units)
      .def_property_readonly("outputs", &Weights::outputs)
      .def_property_readonly("version", &Weights::version)
      .def_property_readonly("use_bias", &Weights::use_bias)
      .def_property_readonly("storage", [](const Weights& weights) { return name_of(weights.storage()); })
      .def_property_readonly("compute",
                             [](const Weights& weights) -> py::object {
                               if (weights.storage() == Storage::bytes) return py::str("int8");
                               return weights.storage() == Storage::operands ? py::str("bfloat16")
                                                                             : py::object(py::none());
                             })
      .def_property_readonly("dtype", [](const Weights& weights) {
        return weights.number() == Number::f64 ? py::dtype::of<double>() : py::dtype::of<float>();
      });
}

}  // namespace fusedlstm::bindings

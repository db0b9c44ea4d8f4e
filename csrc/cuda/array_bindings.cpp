// Operations around sequences: their real steps, dropout, updates, sums of rows.
#include <algorithm>
#include <stdexcept>

#include "binding_types.h"
#include "bindings.h"
#include "column_sums.h"
#include "ctc.h"
#include "elementwise.h"
#include "steps.h"

namespace fusedlstm::cuda {
namespace {

void find(Index batch, Index steps, const Address& mask, const Address& last, const Address& lengths,
          const Address& times, const Address& counts, std::uintptr_t stream) {
  const FoundSteps found{at<Index>(lengths), at<std::int32_t>(times), at<std::int32_t>(counts)};
  if (mask) {
    find_masked_steps(batch, steps, at<const std::uint8_t>(mask), found, stream_at(stream));
  } else {
    find_last_steps(batch, steps, at<const Index>(last), found, stream_at(stream));
  }
}

void gather(const std::string& number, const RealSteps& real, Index features, const StridedAddress& from,
            std::uintptr_t to, std::uintptr_t stream) {
  with_number_type(number, [&](auto zero) {
    using T = decltype(zero);
    gather_steps<T>(real, features, from.typed<const T>(), at<T>(to), stream_at(stream));
  });
}

void spread(const std::string& number, const RealSteps& real, Index features, std::uintptr_t from,
            bool repeats, const Address& first, const StridedAddress& to, std::uintptr_t stream) {
  with_number_type(number, [&](auto zero) {
    using T = decltype(zero);
    spread_steps<T>(real, features, at<const T>(from), repeats, at<const T>(first), to.typed<T>(),
                    stream_at(stream));
  });
}

void sum(const std::string& number, const RealSteps& real, Index features, const StridedAddress& from,
         std::uintptr_t sums, std::uintptr_t first, std::uintptr_t stream) {
  with_number_type(number, [&](auto zero) {
    using T = decltype(zero);
    sum_repeats<T>(real, features, from.typed<const T>(), at<T>(sums), at<T>(first), stream_at(stream));
  });
}

void shift(const std::string& number, const RealSteps& real, Index features, const Address& h0,
           const Address& y, const Address& factors, const Address& previous, std::uintptr_t stream) {
  with_number_type(number, [&](auto zero) {
    using T = decltype(zero);
    previous_states<T>(real, features, at<const T>(h0), at<const T>(y), at<const T>(factors), at<T>(previous),
                       stream_at(stream));
  });
}

void drop(const std::string& number, Index batch, Index steps, Index features, bool share_steps, double rate,
          std::uint64_t seed, const Address& x, const Address& y, std::uintptr_t stream) {
  const Dropout problem{batch,
                        steps,
                        features,
                        share_steps,
                        seed,
                        static_cast<std::uint32_t>(std::min(rate * 0x1p32, 0x1p32 - 1)),
                        1.0 / (1.0 - rate)};
  with_number_type(number, [&](auto zero) {
    using T = decltype(zero);
    dropout<T>(problem, at<const T>(x), at<T>(y), stream_at(stream));
  });
}

void update_by_rule(const std::string& rule, const std::string& number, const UpdateSettings& settings,
                    const std::vector<double>& numbers, Index size, std::uintptr_t param, std::uintptr_t grad,
                    const std::vector<Address>& slots, std::uintptr_t stream) {
  with_wide_type(number, [&](auto zero) {
    using T = decltype(zero);
    std::vector<T*> arrays;
    for (const Address& slot : slots) arrays.push_back(at<T>(slot));
    update<T>(rule, settings, numbers, size, at<T>(param), at<const T>(grad), arrays, stream_at(stream));
  });
}

void add_rows(const std::string& number, Index rows, Index features, const Address& starts,
              const Address& order, const Address& from, const Address& sums, std::uintptr_t stream) {
  with_number_type(number, [&](auto zero) {
    using T = decltype(zero);
    sum_rows<T>(rows, features, at<const Index>(starts), at<const Index>(order), at<const T>(from),
                at<T>(sums), stream_at(stream));
  });
}

Index ranges_of_sums(const std::string& number, Index rows, Index columns) {
  Index ranges = 1;
  with_number_type(number, [&](auto zero) { ranges = column_sum_ranges<decltype(zero)>(rows, columns); });
  return ranges;
}

void add_columns(const std::string& number, Index rows, Index columns, bool wide, std::uintptr_t x,
                 std::uintptr_t sums, const Address& partials, std::uintptr_t stream) {
  with_number_type(number, [&](auto zero) {
    using T = decltype(zero);
    using State = StateOf<T>;
    if (!partials && column_sum_ranges<T>(rows, columns) > 1) {
      throw std::invalid_argument("partials: expected an array for the sums of ranges, got None");
    }
    const auto run = [&]<class Sum>(Sum* to) {
      column_sums<T, Sum>({.rows = rows,
                           .columns = columns,
                           .x = at<const T>(x),
                           .sums = to,
                           .partials = at<State>(partials)},
                          stream_at(stream));
    };
    wide ? run(at<State>(sums)) : run(at<T>(sums));
  });
}

void ctc(const std::string& number, Index batch, Index steps, Index classes, const StridedAddress& logits,
         const Address& labels, Index most_labels, const Address& label_lengths, const Address& logit_lengths,
         Index blank, const Address& weights, bool zero_infinity, const Address& losses,
         const Address& dlogits, const Address& scratch, int threads, std::uintptr_t stream) {
  with_wide_type(number, [&](auto zero) {
    using T = decltype(zero);
    ctc_loss<T>({.batch = batch,
                 .steps = steps,
                 .classes = classes,
                 .logits = logits.typed<const T>(),
                 .labels = at<const Index>(labels),
                 .most_labels = most_labels,
                 .label_lengths = at<const Index>(label_lengths),
                 .logit_lengths = at<const Index>(logit_lengths),
                 .blank = blank,
                 .weights = at<const T>(weights),
                 .zero_infinity = zero_infinity,
                 .losses = at<T>(losses),
                 .dlogits = at<T>(dlogits),
                 .scratch = at<T>(scratch)},
                threads, stream_at(stream));
  });
}

// Types are the module's own: a process may have that of the simulator beside the real one.
void bind_updates(py::module_& module) {
  py::class_<UpdateSettings>(module, "UpdateSettings", py::module_local())
      .def(py::init<double, double, double, double, double, bool>(), py::arg("learning_rate"),
           py::arg("weight_decay"), py::arg("clip"), py::arg("scale"), py::arg("ema_momentum"),
           py::arg("ema_overwrites"));
  module.def("update", &update_by_rule, py::kw_only(), py::arg("rule"), py::arg("number"),
             py::arg("settings"), py::arg("numbers"), py::arg("size"), py::arg("param"), py::arg("grad"),
             py::arg("slots"), py::arg("stream") = 0);
}

}  // namespace

void bind_arrays(py::module_& module) {
  bind_updates(module);
  py::class_<RealSteps>(module, "RealSteps", py::module_local())
      .def(py::init([](Index batch, Index steps, const Address& lengths, const Address& times,
                       const Address& counts) {
             return RealSteps{batch, steps, at<const Index>(lengths), at<const std::int32_t>(times),
                              at<const std::int32_t>(counts)};
           }),
           py::kw_only(), py::arg("batch"), py::arg("steps"), py::arg("lengths") = py::none(),
           py::arg("times") = py::none(), py::arg("counts") = py::none());
  py::class_<StridedAddress>(module, "StridedAddress", py::module_local())
      .def(py::init<std::uintptr_t, Index, Index>(), py::arg("address"), py::arg("row"), py::arg("step"));
  module.def("find_steps", &find, py::kw_only(), py::arg("batch"), py::arg("steps"),
             py::arg("mask") = py::none(), py::arg("last") = py::none(), py::arg("lengths"), py::arg("times"),
             py::arg("counts"), py::arg("stream") = 0);
  module.def("gather_steps", &gather, py::kw_only(), py::arg("number"), py::arg("real"), py::arg("features"),
             py::arg("source"), py::arg("to"), py::arg("stream") = 0);
  module.def("spread_steps", &spread, py::kw_only(), py::arg("number"), py::arg("real"), py::arg("features"),
             py::arg("source"), py::arg("repeats") = false, py::arg("first") = py::none(), py::arg("to"),
             py::arg("stream") = 0);
  module.def("sum_repeats", &sum, py::kw_only(), py::arg("number"), py::arg("real"), py::arg("features"),
             py::arg("source"), py::arg("sums"), py::arg("first"), py::arg("stream") = 0);
  module.def("previous_states", &shift, py::kw_only(), py::arg("number"), py::arg("real"),
             py::arg("features"), py::arg("h0") = py::none(), py::arg("y"), py::arg("factors") = py::none(),
             py::arg("previous"), py::arg("stream") = 0);
  module.def("dropout", &drop, py::kw_only(), py::arg("number"), py::arg("batch"), py::arg("steps"),
             py::arg("features"), py::arg("share_steps"), py::arg("rate"), py::arg("seed"), py::arg("x"),
             py::arg("y"), py::arg("stream") = 0);
  module.def("column_sum_ranges", &ranges_of_sums, py::arg("number"), py::arg("rows"), py::arg("columns"));
  module.def("column_sums", &add_columns, py::kw_only(), py::arg("number"), py::arg("rows"),
             py::arg("columns"), py::arg("wide") = false, py::arg("x"), py::arg("sums"),
             py::arg("partials") = py::none(), py::arg("stream") = 0);
  module.def("ctc_scratch", &ctc_scratch, py::arg("steps"), py::arg("labels"), py::arg("gradient"));
  module.def("ctc_loss", &ctc, py::kw_only(), py::arg("number"), py::arg("batch"), py::arg("steps"),
             py::arg("classes"), py::arg("logits"), py::arg("labels"), py::arg("most_labels"),
             py::arg("label_lengths"), py::arg("logit_lengths"), py::arg("blank"), py::arg("weights"),
             py::arg("zero_infinity"), py::arg("losses"), py::arg("dlogits"), py::arg("scratch"),
             py::arg("threads") = 0, py::arg("stream") = 0);
  module.def("sum_rows", &add_rows, py::kw_only(), py::arg("number"), py::arg("rows"), py::arg("features"),
             py::arg("starts"), py::arg("order"), py::arg("source"), py::arg("sums"), py::arg("stream") = 0);
}

}  // namespace fusedlstm::cuda

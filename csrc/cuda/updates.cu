#include "../math/named_rules.h"
#include "elementwise.h"
#include "number.cuh"
#include "rows.cuh"

namespace fusedlstm::cuda {
namespace {

template <class T, int count>
struct Slots {
  T* at[count];
};

template <class T, class Rule>
__global__ void __launch_bounds__(threads_for_rows)
    update_kernel(const Rule rule, const Index size, T* param, const T* grad,
                  const Slots<T, Rule::slots + 1> slots) {
  constexpr int count = Rule::slots + 1;
  bool has[count];
  for (int k = 0; k < count; ++k) has[k] = slots.at[k] != nullptr;
  for_each_own<1>(1, size, [&](Index, Index i) {
    Number<T> p(param[i]);
    Number<T> values[count];
    for (int k = 0; k < count; ++k) values[k] = Number<T>(has[k] ? slots.at[k][i] : T(0));
    apply_rule(rule, p, Number<T>(grad[i]), has, values);
    param[i] = p.v;
    for (int k = 0; k < count; ++k) {
      if (has[k]) slots.at[k][i] = values[k].v;
    }
  });
}

}  // namespace

template <class T>
void update(const std::string& rule, const UpdateSettings& settings, const std::vector<double>& numbers,
            Index size, T* param, const T* grad, const std::vector<T*>& slots, cudaStream_t stream) {
  with_rule<T>(rule, settings, numbers, [&]<class Rule>(const Rule& made) {
    Slots<T, Rule::slots + 1> all{};
    if (slots.size() != Rule::slots + 1) throw std::invalid_argument("slots: expected those of " + rule);
    std::copy(slots.begin(), slots.end(), all.at);
    launch_rows(Rule::name, 1, size, stream, update_kernel<T, Rule>, made, size, param, grad, all);
  });
}

template void update(const std::string&, const UpdateSettings&, const std::vector<double>&, Index, float*,
                     const float*, const std::vector<float*>&, cudaStream_t);
template void update(const std::string&, const UpdateSettings&, const std::vector<double>&, Index, double*,
                     const double*, const std::vector<double*>&, cudaStream_t);

}  // namespace fusedlstm::cuda

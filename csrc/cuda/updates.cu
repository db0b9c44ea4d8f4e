#include "../math/updates.h"
#include "elementwise.h"
#include "number.cuh"
#include "rows.cuh"

namespace fusedlstm::cuda {
namespace {

// One element of an optimizer's slot, or nothing.
template <class T>
struct Slot {
  T* at;
  Number<T> value;

  __device__ __forceinline__ Slot(T* array, Index i)
      : at(array == nullptr ? nullptr : array + i), value(at == nullptr ? T(0) : *at) {}
  __device__ __forceinline__ bool exists() const { return at != nullptr; }
  __device__ __forceinline__ void store() const {
    if (at != nullptr) *at = value.v;
  }
};

template <class T>
__global__ void __launch_bounds__(threads_for_rows)
    sgd_kernel(const SgdRule<T> rule, const Index size, T* param, const T* grad, T* velocity) {
  for_each_own<1>(1, size, [&](Index, Index i) {
    Slot<T> p(param, i);
    Slot<T> v(velocity, i);
    rule.apply(p.value, Number<T>(grad[i]), v.exists(), v.value);
    p.store();
    v.store();
  });
}

template <class T>
__global__ void __launch_bounds__(threads_for_rows)
    rmsprop_kernel(const RmspropRule<T> rule, const Index size, T* param, const T* grad, T* mean_square,
                   T* mean_grad, T* velocity) {
  for_each_own<1>(1, size, [&](Index, Index i) {
    Slot<T> p(param, i);
    Slot<T> square(mean_square, i);
    Slot<T> mean(mean_grad, i);
    Slot<T> v(velocity, i);
    rule.apply(p.value, Number<T>(grad[i]), square.value, mean.exists(), mean.value, v.exists(), v.value);
    p.store();
    square.store();
    mean.store();
    v.store();
  });
}

template <class T>
__global__ void __launch_bounds__(threads_for_rows)
    adam_kernel(const AdamRule<T> rule, const Index size, T* param, const T* grad, T* m, T* v, T* vhat) {
  for_each_own<1>(1, size, [&](Index, Index i) {
    Slot<T> p(param, i);
    Slot<T> first(m, i);
    Slot<T> second(v, i);
    Slot<T> largest(vhat, i);
    rule.apply(p.value, Number<T>(grad[i]), first.value, second.value, largest.exists(), largest.value);
    p.store();
    first.store();
    second.store();
    largest.store();
  });
}

}  // namespace

template <class T>
void sgd(const SgdRule<T>& rule, Index size, T* param, const T* grad, T* velocity, cudaStream_t stream) {
  launch_rows("sgd", 1, size, stream, sgd_kernel<T>, rule, size, param, grad, velocity);
}

template <class T>
void rmsprop(const RmspropRule<T>& rule, Index size, T* param, const T* grad, T* mean_square, T* mean_grad,
             T* velocity, cudaStream_t stream) {
  launch_rows("rmsprop", 1, size, stream, rmsprop_kernel<T>, rule, size, param, grad, mean_square, mean_grad,
              velocity);
}

template <class T>
void adam(const AdamRule<T>& rule, Index size, T* param, const T* grad, T* m, T* v, T* vhat,
          cudaStream_t stream) {
  launch_rows("adam", 1, size, stream, adam_kernel<T>, rule, size, param, grad, m, v, vhat);
}

#define FUSEDLSTM_INSTANTIATE(T)                                                               \
  template void sgd(const SgdRule<T>&, Index, T*, const T*, T*, cudaStream_t);                 \
  template void rmsprop(const RmspropRule<T>&, Index, T*, const T*, T*, T*, T*, cudaStream_t); \
  template void adam(const AdamRule<T>&, Index, T*, const T*, T*, T*, T*, cudaStream_t);
FUSEDLSTM_INSTANTIATE(float)
FUSEDLSTM_INSTANTIATE(double)
#undef FUSEDLSTM_INSTANTIATE

}  // namespace fusedlstm::cuda

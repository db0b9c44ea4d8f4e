// Trains an LSTM on one batch of sequences with the kernels alone, without Python: an example of
// csrc/cpu/sequence.h, whose numbers test_train.py compares with those of fusedlstm.ops.
//
//   train_sequence IN OUT B T I H steps checkpoint_every
//
// IN holds float32 x (B,T,I), targets of y (B,T,H), kernel (I,G), recurrent_kernel (H,G) and bias (G), then
// int64 lengths (B). OUT gets y of the last step, and the weights after it. The instruction set is printed.
//
// For work on kernels this is the program to step through. `make build/cpp/built` compiles it for a debugger:
//
//   python tests/cpp/test_train.py /tmp/in          writes an IN for the sizes below
//   gdb --args build/cpp/train_sequence /tmp/in /tmp/out 3 7 5 9 1 0
//   (gdb) break fusedlstm::run_forward<float>
//
// One thread is easier to follow: FUSEDLSTM_NUM_THREADS=1. Another instruction set is another build:
// -DFUSEDLSTM_KERNELS=avx2/float.
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <limits>
#include <stdexcept>
#include <vector>

#include "../../csrc/cpu/elementwise.h"
#include "../../csrc/cpu/sequence.h"

namespace {

using namespace fusedlstm;
using Numbers = std::vector<float>;

template <class T>
std::vector<T> read(std::istream& file, Index count) {
  std::vector<T> values(static_cast<std::size_t>(count));
  file.read(reinterpret_cast<char*>(values.data()), count * static_cast<Index>(sizeof(T)));
  if (!file) throw std::runtime_error("IN: expected a file with more numbers");
  return values;
}

void write(std::ostream& file, const Numbers& values) {
  file.write(reinterpret_cast<const char*>(values.data()),
             static_cast<std::streamsize>(values.size() * sizeof(float)));
}

// A parameter, its gradient and the moments of Adam.
struct Param {
  explicit Param(Numbers start)
      : values(std::move(start)), gradient(values.size()), m(values.size()), v(values.size()) {}

  ParamUpdate update(const AdamRule<float>& rule) {
    return make_update<float>(rule, static_cast<Index>(values.size()), values.data(), gradient.data(),
                              {m.data(), v.data(), nullptr, nullptr});
  }

  Numbers values;
  Numbers gradient;
  Numbers m;
  Numbers v;
};

void train(const char* in, const char* out, Index B, Index T, Index I, Index H, Index steps,
           Index checkpoint_every) {
  std::ifstream input(in, std::ios::binary);
  const Index G = kGates * H;
  const Numbers x = read<float>(input, B * T * I);
  const Numbers target = read<float>(input, B * T * H);
  Param kernel(read<float>(input, I * G));
  Param recurrent(read<float>(input, H * G));
  Param bias(read<float>(input, G));
  const std::vector<Index> lengths = read<Index>(input, B);

  const LstmArguments<float> arguments{
      .batch = B, .steps = T, .x = {x.data(), T * I, I}, .real = RealSteps::of_lengths(lengths.data(), B, T)};
  Numbers y(target.size());
  Numbers dy(target.size());
  Numbers h(static_cast<std::size_t>(B * H));
  Numbers c(h.size());
  Numbers dh0(h.size());
  Numbers dc0(h.size());
  const ArgumentGradients<float> gradients{.dh0 = dh0.data(),
                                           .dc0 = dc0.data(),
                                           .dkernel = kernel.gradient.data(),
                                           .drecurrent_kernel = recurrent.gradient.data(),
                                           .dbias = bias.gradient.data()};
  for (Index step = 1; step <= steps; ++step) {
    const auto weights = std::make_shared<const LstmPanels<float>>(
        I, H, H,
        LstmPanels<float>::Source{kernel.values.data(), G, recurrent.values.data(), G, bias.values.data(),
                                  nullptr, 0},
        Storage::full);
    Tape<float> tape;
    lstm_forward<float>(weights, arguments, {y.data(), h.data(), c.data()}, &tape, checkpoint_every);
    for (std::size_t i = 0; i < y.size(); ++i) dy[i] = y[i] - target[i];
    lstm_backward<float>(tape, {.dy = {dy.data(), T * H, H}}, gradients);
    const AdamRule<float> rule({0.01, 0.0, std::numeric_limits<double>::infinity(), 1.0},
                               static_cast<double>(step), 0.9, 0.999, 1e-7);
    run_updates("adam_update", false, {kernel.update(rule), recurrent.update(rule), bias.update(rule)});
  }
  std::ofstream output(out, std::ios::binary);
  for (const Numbers& values : {y, kernel.values, recurrent.values, bias.values}) write(output, values);
  if (!output.flush()) throw std::runtime_error("OUT: expected a file that can be written");
}

}  // namespace

int main(int count, char** words) {
  try {
    if (count != 9) throw std::invalid_argument("expected IN OUT B T I H steps checkpoint_every");
    configure_from_environment();
    const auto size = [&](int place) { return Index{std::atoll(words[place])}; };
    train(words[1], words[2], size(3), size(4), size(5), size(6), size(7), size(8));
    std::cout << kernels().name << '\n';
    return EXIT_SUCCESS;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return EXIT_FAILURE;
  }
}

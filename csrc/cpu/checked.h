// Sizes that notice when 64 bits do not hold what they are multiplied to.
#pragma once

#include "problem.h"

namespace fusedlstm {

// A size with the note whether it, and all that it was made from, fitted 64 bits.
class CheckedSize {
 public:
  constexpr CheckedSize(Index value) : value_(value), fits_(value >= 0) {}

  constexpr bool fits() const { return fits_; }
  constexpr Index value() const { return value_; }  // meaningless unless it fits

  friend constexpr CheckedSize operator*(CheckedSize a, const CheckedSize& b) {
    const bool overflow = __builtin_mul_overflow(a.value_, b.value_, &a.value_);
    a.fits_ = a.fits_ && b.fits_ && !overflow;
    return a;
  }
  friend constexpr CheckedSize operator+(CheckedSize a, const CheckedSize& b) {
    const bool overflow = __builtin_add_overflow(a.value_, b.value_, &a.value_);
    a.fits_ = a.fits_ && b.fits_ && !overflow;
    return a;
  }

 private:
  Index value_;
  bool fits_;
};

// Whether no product of a sequence's sizes, of whatever pass over it, leaves 64 bits. An array has at most so
// many rows as steps and batch rows, with the initial states and what tapes are padded with, and at most 256
// bytes of each row for every column (17 sums of float64 for a unit are the most); a plan counts operations.
// Empty batches count as one row: nothing may count steps up to 2^63 either.
constexpr bool products_fit(const Sizes& n) {
  const Index batch = n.batch > 0 ? n.batch : 1;
  const CheckedSize rows = (CheckedSize(n.steps) + 1) * batch + 256;
  const CheckedSize columns = CheckedSize(n.inputs) + n.units + n.outputs + 256;
  const CheckedSize operations =
      rows * (2 * kGates * CheckedSize(n.units)) * (CheckedSize(n.inputs) + n.outputs);
  return CheckedSize(n.batch).fits() && (rows * columns * 256).fits() && operations.fits();
}

// The same for a product (rows, inputs) (inputs, outputs), whose sides are filled up to whole panels.
constexpr bool products_fit(Index rows, Index inputs, Index outputs) {
  return ((CheckedSize(rows) + 256) * (CheckedSize(inputs) + 256) * (CheckedSize(outputs) + 256) * 64).fits();
}

}  // namespace fusedlstm

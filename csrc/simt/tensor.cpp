// Tensor-core products, with the fragments of PTX's mma.sync. A product of two inputs is exact, and sums are
// taken in float64 and rounded once to float32; hardware adds in an order that is not documented, with at
// least the precision of float32.
#include <cstdint>
#include <cstring>

#include "float_bits.h"
#include "machine.h"

namespace simt {
namespace {

constexpr std::uint32_t full_warp = 0xffffffff;

struct Fragments {
  float* d;
  const std::uint32_t* a;
  const std::uint32_t* b;
  const float* c;
};

double number_at(Number number, const std::uint32_t* registers, int place) {
  switch (number) {
    case Number::tf32:  // hardware reads the upper 19 bits
      return bits_to_float(registers[place] & 0xffffe000u);
    case Number::float16:
      return half_to_float(static_cast<std::uint16_t>(registers[place / 2] >> place % 2 * 16));
    case Number::bfloat16:
      break;
  }
  return bfloat16_to_float(static_cast<std::uint16_t>(registers[place / 2] >> place % 2 * 16));
}

// In 16 bits, k = 16 and a register holds two neighbours; in tf32, k = 8 and it holds one number. Lane l is
// in row l / 4 of its group of eight, and at place l % 4 in that row.
void multiply(const Lanes& lanes) {
  const auto number = static_cast<Number>(lanes.variant);
  const int depth = number == Number::tf32 ? 8 : 16;
  const int pack = number == Number::tf32 ? 1 : 2;
  double a[16][16];
  double b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const auto& fragments = *static_cast<const Fragments*>(lanes.at[lane]);
    const int group = lane / 4;
    const int place = lane % 4;
    for (int i = 0; i < 4 * pack; ++i) {
      const int part = i / pack;  // the register: rows 0-7 and 8-15 in turn, then the second half of k
      a[group + part % 2 * 8][place * pack + i % pack + part / 2 * 4 * pack] =
          number_at(number, fragments.a, i);
    }
    for (int i = 0; i < 2 * pack; ++i) {
      b[place * pack + i % pack + i / pack * 4 * pack][group] = number_at(number, fragments.b, i);
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    const auto& fragments = *static_cast<const Fragments*>(lanes.at[lane]);
    float d[4];
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + i / 2 * 8;
      const int column = lane % 4 * 2 + i % 2;
      double sum = fragments.c[i];
      for (int k = 0; k < depth; ++k) sum += a[row][k] * b[k][column];
      d[i] = static_cast<float>(sum);
    }
    std::memcpy(fragments.d, d, sizeof d);
  }
}

struct MatrixRows {
  std::uint32_t* registers;
  const void* row;
};

// Lanes 8 m to 8 m + 7 give the rows of matrix m; lane l gets the pair at row l / 4, columns 2 (l % 4) and
// the next one; transposed, of the transposed matrix.
void load(const Lanes& lanes) {
  const int count = static_cast<int>(lanes.variant >> 1);
  const bool transposed = (lanes.variant & 1) != 0;
  for (int matrix = 0; matrix < count; ++matrix) {
    std::uint16_t values[8][8];
    for (int row = 0; row < 8; ++row) {
      std::memcpy(values[row], static_cast<const MatrixRows*>(lanes.at[matrix * 8 + row])->row, 16);
    }
    for (int lane = 0; lane < 32; ++lane) {
      const int i = lane / 4;
      const int j = lane % 4 * 2;
      const std::uint32_t low = transposed ? values[j][i] : values[i][j];
      const std::uint32_t high = transposed ? values[j + 1][i] : values[i][j + 1];
      static_cast<const MatrixRows*>(lanes.at[lane])->registers[matrix] = low | high << 16;
    }
  }
}

void need_whole_warp(const char* name) {
  if (Machine::get().thread().warp->lanes != full_warp)
    fail(std::string(name) + " in a warp of fewer than 32 lanes");
}

}  // namespace

void multiply_tiles(Number number, float* d, const std::uint32_t* a, const std::uint32_t* b, const float* c,
                    Site site) {
  need_whole_warp("mma");
  Fragments fragments{d, a, b, c};
  meet("mma", full_warp, static_cast<std::uint32_t>(number), &fragments, &multiply, site);
}

void load_matrices(int count, bool transposed, std::uint32_t* registers, const void* row, Site site) {
  need_whole_warp("ldmatrix");
  Machine& machine = Machine::get();
  if (static_cast<int>(machine.thread().lane) < 8 * count) {
    std::size_t offset = 0;
    const auto address = reinterpret_cast<std::uintptr_t>(row);
    check_read(row, 16, 16);
    if (machine.shared_at(address, 16, offset) == nullptr) fail("ldmatrix from memory that is not shared");
  }
  MatrixRows rows{registers, row};
  const auto variant = static_cast<std::uint32_t>(count * 2 + (transposed ? 1 : 0));
  meet("ldmatrix", full_warp, variant, &rows, &load, site);
}

}  // namespace simt

// Matrix products on a register tile: R rows by P panels of four vectors, with the caller's work on the
// finished tile done while it is still in registers.
//
// Every output is one chain of multiply-adds, started by `start` and continued in ascending k. How rows are
// grouped into tiles, which thread has them and where the chain pauses in memory never changes its bits.
#pragma once

#include "vec.h"

namespace fusedlstm::FUSEDLSTM_ISA {

template <class T>
struct Tile {
  using V = Vec<T>;
  static constexpr int vectors = 4;                     // of one panel; the four gates, in forward
  static constexpr Index columns = vectors * V::width;  // of one panel
  static constexpr int rows =
      V::registers >= 32 ? 6 : 3;                  // rows * vectors accumulators leave 4 (8) registers
  static constexpr Index block_bytes = 24 * 1024;  // of a panel, kept in L1 while rows stream past it
  static constexpr Index block = block_bytes / (columns * Index{sizeof(T)});
};

// The left operand where each row is contiguous in k.
template <int R, class T>
struct RowPointers {
  const T* p[R];

  [[gnu::always_inline]] T operator()(int r, Index k) const { return p[r][k]; }
};

// The left operand packed as (K, step): the rows of one tile lie side by side.
template <class T>
struct PackedColumns {
  const T* p;
  Index step;

  [[gnu::always_inline]] T operator()(int r, Index k) const { return p[k * step + r]; }
};

// acc += left (R, K) times the P panels of (K, columns) that lie `stride` apart. Panels of a narrower type W
// widen as they are loaded.
template <int R, int P, class T, class Left, class W>
[[gnu::always_inline]] inline void multiply_add(Vec<T> (&acc)[R][P * Tile<T>::vectors], const Left& left,
                                                const W* panel, Index stride, Index k_count) {
  using V = Vec<T>;
  constexpr int vectors = Tile<T>::vectors;
  // Sums of the compiler's own, which nothing can point to and which therefore stay in registers.
  V sum[R][P * vectors];
  for (int r = 0; r < R; ++r) {
    for (int j = 0; j < P * vectors; ++j) sum[r][j] = acc[r][j];
  }
  for (Index k = 0; k < k_count; ++k, panel += Tile<T>::columns) {
    V a[R];
    for (int r = 0; r < R; ++r) a[r] = V(left(r, k));
    for (int j = 0; j < P * vectors; ++j) {
      V b = V::load_part(panel + (j / vectors) * stride, j % vectors);
      // As a memory operand of each multiply-add it would be loaded R times, and loads would be the limit.
      if constexpr (R > 1) keep_in_register(b);
      for (int r = 0; r < R; ++r) sum[r][j] = fma(a[r], b, sum[r][j]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int j = 0; j < P * vectors; ++j) acc[r][j] = sum[r][j];
  }
}

// Calls body(rows, first) with rows a compile-time number, for tiles that cover `count` rows as evenly as
// they can: four rows are 2 + 2 rather than 3 + 1, which would leave the last tile waiting for loads.
template <int R>
struct TileRows {
  static constexpr int value = R;
};

template <int R, class Body>
[[gnu::always_inline]] inline void with_tile_rows(Index count, Index first, const Body& body) {
  if constexpr (R == 1) {
    body(TileRows<1>{}, first);
  } else if (count == R) {
    body(TileRows<R>{}, first);
  } else {
    with_tile_rows<R - 1>(count, first, body);
  }
}

template <class T, class Body>
[[gnu::always_inline]] inline void for_each_tile(Index rows, const Body& body) {
  Index tiles = divide_up(rows, Tile<T>::rows);
  for (Index first = 0; tiles > 0; --tiles) {
    const Index count = divide_up(rows - first, tiles);
    with_tile_rows<Tile<T>::rows>(count, first, body);
    first += count;
  }
}

template <class T, int R>
using Accumulators = Vec<T>[R][Tile<T>::vectors];

template <class T, int R>
[[gnu::always_inline]] inline void load_tile(Accumulators<T, R>& acc, const T* rows) {
  for (int r = 0; r < R; ++r) {
    for (int j = 0; j < Tile<T>::vectors; ++j) {
      acc[r][j] = Vec<T>::load(rows + r * Tile<T>::columns + j * Vec<T>::width);
    }
  }
}

template <class T, int R>
[[gnu::always_inline]] inline void store_tile(const Accumulators<T, R>& acc, T* rows) {
  for (int r = 0; r < R; ++r) {
    for (int j = 0; j < Tile<T>::vectors; ++j) {
      acc[r][j].store(rows + r * Tile<T>::columns + j * Vec<T>::width);
    }
  }
}

template <class T, int R>
[[gnu::always_inline]] inline void clear_tile(Accumulators<T, R>& acc) {
  for (int r = 0; r < R; ++r) {
    for (int j = 0; j < Tile<T>::vectors; ++j) acc[r][j] = Vec<T>(0);
  }
}

template <class T, int R>
[[gnu::always_inline]] inline void repeat_row(Accumulators<T, R>& acc, const T* row) {
  for (int j = 0; j < Tile<T>::vectors; ++j) {
    const Vec<T> value = Vec<T>::load(row + j * Vec<T>::width);
    for (int r = 0; r < R; ++r) acc[r][j] = value;
  }
}

// multiply_add as a function of its own, for loops whose sums lost their registers to the epilogues around
// them when they were inlined: a sum that goes through memory waits for it at every k.
template <int R, int P, class T, class Left, class W>
[[gnu::noinline]] void multiply_add_apart(Vec<T> (&acc)[R][P * Tile<T>::vectors], const Left& left,
                                          const W* panel, Index stride, Index k_count) {
  multiply_add<R, P, T>(acc, left, panel, stride, k_count);
}

// For every row in [0, rows) and every panel in `range`:
//   start(acc, first_row, panel)    fills a tile (R rows, four vectors) with what its sums start from
//   finish(acc, first_row, panel)   takes the finished tile, and may use it up
// row(r) points to the K contiguous elements of row r; panels are (panels, K, columns); `partial` holds
// (rows, columns) elements, where sums wait between the blocks of a long K.
template <class T, class Row, class W, class Start, class Finish>
[[gnu::always_inline]] inline void multiply(Index rows, Index K, const Row& row, const W* panels, Range range,
                                            T* partial, const Start& start, const Finish& finish) {
  constexpr int vectors = Tile<T>::vectors;
  constexpr Index columns = Tile<T>::columns;
  const Index stride = K * columns;
  Index panel = range.begin;

  // A single row reuses nothing, and four sums do not cover the latency of an addition: two panels at a time.
  if (rows == 1) {
    for (; panel + 2 <= range.end; panel += 2) {
      Accumulators<T, 1> halves[2];
      start(halves[0], 0, panel);
      start(halves[1], 0, panel + 1);
      Vec<T> acc[1][2 * vectors];
      for (int j = 0; j < 2 * vectors; ++j) acc[0][j] = halves[j / vectors][0][j % vectors];
      multiply_add_apart<1, 2, T>(acc, RowPointers<1, T>{{row(0)}}, panels + panel * stride, stride, K);
      for (int j = 0; j < 2 * vectors; ++j) halves[j / vectors][0][j % vectors] = acc[0][j];
      finish(halves[0], 0, panel);
      finish(halves[1], 0, panel + 1);
    }
  }

  const Index block = rows > Tile<T>::rows ? Tile<T>::block : K;
  for (; panel < range.end; ++panel) {
    Index k = 0;
    do {
      const Index count = smaller(block, K - k);
      const W* block_panel = panels + panel * stride + k * columns;
      for_each_tile<T>(rows, [&](auto tile_rows, Index first) FUSEDLSTM_INLINE {
        constexpr int R = decltype(tile_rows)::value;
        Accumulators<T, R> acc;
        if (k == 0) {
          start(acc, first, panel);
        } else {
          load_tile<T, R>(acc, partial + first * columns);
        }
        RowPointers<R, T> left;
        for (int r = 0; r < R; ++r) left.p[r] = row(first + r) + k;
        if constexpr (sizeof(W) == sizeof(T)) {
          multiply_add<R, 1, T>(acc, left, block_panel, 0, count);
        } else {
          multiply_add_apart<R, 1, T>(acc, left, block_panel, 0, count);
        }
        if (k + count == K) {
          finish(acc, first, panel);
        } else {
          store_tile<T, R>(acc, partial + first * columns);
        }
      });
      k += count;
    } while (k < K);
  }
}

}  // namespace fusedlstm::FUSEDLSTM_ISA

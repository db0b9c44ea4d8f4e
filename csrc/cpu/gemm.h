// Matrix products on a register tile: R rows by P panels of four vectors, with the caller's work on the
// finished tile done while it is still in L1.
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

// What a tile's sums start from: rows of numbers `stride` apart; a stride of 0 gives every row the same ones.
template <class T>
struct Start {
  const T* rows;
  Index stride;
};

template <class T>
alignas(64) inline constexpr T zero_row[Tile<T>::columns] = {};

template <class T>
[[gnu::always_inline]] inline Start<T> zeros() {
  return {zero_row<T>, 0};
}

// sums (P, R, columns) = start[P] + left (R, K) times the P panels of (K, columns) that lie `stride` apart.
// Panels of a narrower type W widen as they are loaded.
//
// A function of its own, and the epilogue not part of it: inlined between epilogues full of constants, which
// compilers keep in registers too, the sums of GCC 12 lived in memory (half of the speed with AVX-512).
template <int R, int P, class T, class Left, class W>
[[gnu::noinline]] void multiply_tile(const Start<T> (&start)[P], const Left& left, const W* panel,
                                     Index stride, Index k_count, T* sums) {
  using V = Vec<T>;
  constexpr int vectors = Tile<T>::vectors;
  const Left row = left;
  V sum[R][P * vectors];
  for (int r = 0; r < R; ++r) {
    for (int j = 0; j < P * vectors; ++j) {
      const Start<T>& from = start[j / vectors];
      sum[r][j] = V::load(from.rows + r * from.stride + j % vectors * V::width);
    }
  }
  for (Index k = 0; k < k_count; ++k, panel += Tile<T>::columns) {
    V a[R];
    for (int r = 0; r < R; ++r) a[r] = V(row(r, k));
    for (int j = 0; j < P * vectors; ++j) {
      V b = V::load_part(panel + (j / vectors) * stride, j % vectors);
      // As a memory operand of each multiply-add it would be loaded R times, and loads would be the limit.
      if constexpr (R > 1) keep_in_register(b);
      for (int r = 0; r < R; ++r) sum[r][j] = fma(a[r], b, sum[r][j]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int j = 0; j < P * vectors; ++j) {
      sum[r][j].store(sums + (j / vectors * R + r) * Tile<T>::columns + j % vectors * V::width);
    }
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

// For every row in [0, rows) and every panel in `range`:
//   start(first_row, panel)                   what a tile's sums start from
//   finish(tile_rows, first_row, panel, sums) takes the finished sums (R, columns)
// row(r) points to the K contiguous elements of row r; panels are (panels, K, columns); `partial` holds
// (rows, columns) elements, where sums wait between the blocks of a long K.
template <class T, class Row, class W, class Begin, class Finish>
[[gnu::always_inline]] inline void multiply(Index rows, Index K, const Row& row, const W* panels, Range range,
                                            T* partial, const Begin& start, const Finish& finish) {
  constexpr Index columns = Tile<T>::columns;
  const Index stride = K * columns;
  Index panel = range.begin;

  // A single row reuses nothing, and four sums do not cover the latency of an addition: two panels at a time.
  if (rows == 1) {
    for (; panel + 2 <= range.end; panel += 2) {
      alignas(64) T sums[2 * columns];
      const Start<T> from[2] = {start(0, panel), start(0, panel + 1)};
      multiply_tile<1, 2, T>(from, RowPointers<1, T>{{row(0)}}, panels + panel * stride, stride, K, sums);
      finish(TileRows<1>{}, 0, panel, sums);
      finish(TileRows<1>{}, 0, panel + 1, sums + columns);
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
        alignas(64) T finished[R * columns];
        const bool last = k + count == K;
        const Start<T> from[1] = {k == 0 ? start(first, panel)
                                         : Start<T>{partial + first * columns, columns}};
        RowPointers<R, T> left;
        for (int r = 0; r < R; ++r) left.p[r] = row(first + r) + k;
        multiply_tile<R, 1, T>(from, left, block_panel, 0, count,
                               last ? finished : partial + first * columns);
        if (last) finish(tile_rows, first, panel, finished);
      });
      k += count;
    } while (k < K);
  }
}

}  // namespace fusedlstm::FUSEDLSTM_ISA

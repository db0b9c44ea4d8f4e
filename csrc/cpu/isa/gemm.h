// Matrix products on a register tile: R rows by P panels of four vectors, with the caller's work on the
// finished tile done while it is still in L1.
//
// Every output is one chain of multiply-adds, started by `start` and continued in ascending k. How rows are
// grouped into tiles, which thread has them and where the chain pauses in memory never changes its bits.
#pragma once

#include "../team.h"
#include "vec.h"

namespace fusedlstm::FUSEDLSTM_ISA {

template <class T>
struct Tile {
  using V = Vec<T>;
  static constexpr int vectors = kGates;                // of one panel; the gates, in forward
  static constexpr Index columns = vectors * V::width;  // of one panel
  static constexpr bool registers_32 = V::registers >= 32;
  static constexpr int rows = registers_32 ? 6 : 3;  // rows * vectors accumulators leave 4 (8) registers
  // Bytes of a panel that a tile takes at a time. Three rows leave so little arithmetic per number of the
  // panel that it has to stay in L1 (24 KiB) while all rows pass; six can have it from L2, and pause their
  // sums less often.
  static constexpr Index block_bytes = registers_32 ? 3 * 1024 * Index{sizeof(V)} : 24 * 1024;
  static constexpr Index block = block_bytes / (columns * Index{sizeof(T)});
};

// A row of products as tiles leave it: a piece of four vectors in each panel, `stride` numbers apart.
template <class T>
struct PanelRow {
  T* first;
  Index stride;

  [[gnu::always_inline]] T* piece(Index panel) const { return first + panel * stride; }
};

// Rows of a left operand: row(r) points to the first element of row r. Their elements lie in segments of
// `segment` neighbours, whose first elements are `jump` apart.
template <class Row>
struct LeftRows {
  Row row;
  Index segment;
  Index jump;
};

template <class Row>
[[gnu::always_inline]] inline LeftRows<Row> whole_rows(Index K, const Row& row) {
  return {row, K, K};
}

// A tile's part of such rows, from the first element of a segment or within their only one.
template <int R, class T>
struct RowPointers {
  const T* p[R];
  Index segment;
  Index jump;

  [[gnu::always_inline]] T operator()(int r, Index k) const { return p[r][k]; }
  template <class W>
  [[gnu::always_inline]] const W* next_segment(const W* panel) {
    for (const T*& row : p) row += jump;
    return panel;
  }
};

// The rows of two left operands, whose products are one chain, and the place of the second one's panel.
template <int R, class T, class W>
struct RowPairs {
  const T* p[R];
  Index segment;
  const T* second[R];
  Index second_segment;
  const W* second_panel;

  [[gnu::always_inline]] T operator()(int r, Index k) const { return p[r][k]; }
  [[gnu::always_inline]] const W* next_segment(const W*) {
    for (int r = 0; r < R; ++r) p[r] = second[r];
    segment = second_segment;
    return second_panel;
  }
};

// The left operand packed as (K, step): the rows of one tile lie side by side.
template <class T, Index step>
struct PackedColumns {
  const T* p;
  Index segment;

  [[gnu::always_inline]] T operator()(int r, Index k) const { return p[k * step + r]; }
  template <class W>
  [[gnu::always_inline]] const W* next_segment(const W* panel) {
    p += segment * step;
    return panel;
  }
};

// The start of a tile's sums: rows of numbers `stride` apart; a stride of 0 gives every row the same ones.
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

// sums[P] (R, columns) = start[P] + left (R, K) times the P panels of (K, columns) that lie `stride` apart.
// Panels of a narrower type W widen as they are loaded.
//
// A function of its own, and the epilogue not part of it: inlined between epilogues full of constants, which
// compilers keep in registers too, the sums of GCC 12 lived in memory (half of the speed with AVX-512).
template <int R, int P, class T, class Left, class W>
[[gnu::noinline]] void multiply_tile(const Start<T> (&start)[P], const Left& operand, const W* panel,
                                     Index stride, Index K, T* const (&sums)[P]) {
  using V = Vec<T>;
  constexpr int vectors = Tile<T>::vectors;
  Left left = operand;
  V sum[R][P * vectors];
  for (int r = 0; r < R; ++r) {
    for (int j = 0; j < P * vectors; ++j) {
      const Start<T>& from = start[j / vectors];
      sum[r][j] = V::load(from.rows + r * from.stride + j % vectors * V::width);
    }
  }
  for (Index first = 0; first < K; first += left.segment, panel = left.next_segment(panel)) {
    const Index count = smaller(left.segment, K - first);
    for (Index k = 0; k < count; ++k, panel += Tile<T>::columns) {
      V a[R];
      for (int r = 0; r < R; ++r) a[r] = V(left(r, k));
      for (int j = 0; j < P * vectors; ++j) {
        V b = V::load_part(panel + (j / vectors) * stride, j % vectors);
        // As a memory operand of each multiply-add it would be loaded R times, and loads would be the limit.
        if constexpr (R > 1) keep_in_register(b);
        for (int r = 0; r < R; ++r) sum[r][j] = fma(a[r], b, sum[r][j]);
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int j = 0; j < P * vectors; ++j) {
      sum[r][j].store(sums[j / vectors] + r * Tile<T>::columns + j % vectors * V::width);
    }
  }
}

// A number of a tile's rows that the compiler knows.
template <int R>
struct TileRows {
  static constexpr int value = R;
};

// Calls body(TileRows<count>{}). What does not need to know it stays outside, where there is one of it and
// not one for each number of rows.
template <int R, class Body>
[[gnu::always_inline]] inline void with_tile_rows(Index count, const Body& body) {
  if constexpr (R == 1) {
    body(TileRows<1>{});
  } else if (count == R) {
    body(TileRows<R>{});
  } else {
    with_tile_rows<R - 1>(count, body);
  }
}

// Calls body(first, count) for tiles that cover `rows` as evenly as they can: four rows are 2 + 2 rather than
// 3 + 1, which would leave the last tile waiting for loads.
template <class T, class Body>
[[gnu::always_inline]] inline void for_each_tile(Index rows, const Body& body) {
  Index tiles = divide_up(rows, Tile<T>::rows);
  for (Index first = 0; tiles > 0; --tiles) {
    const Index count = divide_up(rows - first, tiles);
    body(first, count);
    first += count;
  }
}

// A tile's column of one vector, j, clipped to `count` columns: calls body(column, lanes).
template <class T, class Body>
[[gnu::always_inline]] inline void for_each_vector(Index panel, Index count, const Body& body) {
  using V = Vec<T>;
  for (int j = 0; j < Tile<T>::vectors; ++j) {
    const Index column = panel * Tile<T>::columns + j * V::width;
    if (column + V::width <= count) {
      body(j, column, AllLanes{});
    } else if (column < count) {
      body(j, column, count - column);
    }
  }
}

// A range of panels, and whether to visit them from the last to the first: where a thread's weights are
// larger than a cache, the panels visited last are those that are still in it.
struct PanelOrder {
  Range range;
  bool reversed = false;

  [[gnu::always_inline]] Index at(Index i) const { return reversed ? range.end - 1 - i : range.begin + i; }
};

// The cost of a product with so many rows, for each panel: a few rows take as long as the reading of it.
template <class T>
[[gnu::always_inline]] inline Index panel_operations(Index rows, Index K) {
  constexpr Index rows_of_reading = 16;
  return 2 * (rows > rows_of_reading ? rows : rows_of_reading) * K * Tile<T>::columns;
}

// Calls body(order) for panels of a product that each take so many operations; for a few of them at a time
// where all would take long, and then asks in between whether to go on.
template <class Body>
[[gnu::always_inline]] inline void in_groups(Worker& worker, PanelOrder order, Index operations,
                                             const Body& body) {
  constexpr Index most = 1'000'000'000;
  const Index count = order.range.size();
  const Index group = operations * count <= most ? count : most / operations + 1;
  for (Index done = 0; done < count; done += group) {
    const Index end = smaller(done + group, count);
    const Range part = order.reversed ? Range{order.range.end - end, order.range.end - done}
                                      : Range{order.range.begin + done, order.range.begin + end};
    body(PanelOrder{part, order.reversed});
    if (end < count && worker.stopped(operations * group)) return;
  }
}

// For every row in [0, rows) and every panel of `order`:
//   start(first_row, panel)         what a tile's sums start from
//   place(first_row, panel, i)      where its sums (tile rows, columns) go; i tells the tiles of a call apart
//   finish(first_row, panel, count) sums of `count` rows are complete and in L1
// Panels are (panels, K, columns); `partial` holds (rows, columns) elements, where sums wait between the
// blocks of a long K.
template <class T, class Row, class W, class Begin, class Place, class Finish>
[[gnu::always_inline]] inline void multiply(Index rows, Index K, const LeftRows<Row>& left, const W* panels,
                                            PanelOrder order, T* partial, const Begin& start,
                                            const Place& place, const Finish& finish) {
  constexpr Index columns = Tile<T>::columns;
  const Index stride = K * columns;
  const Index count = order.range.size();
  Index done = 0;

  // A single row reuses nothing, and four sums do not cover the latency of an addition: two panels at a time.
  if (rows == 1) {
    for (; done + 2 <= count; done += 2) {
      const Index panel = smaller(order.at(done), order.at(done + 1));
      const Start<T> from[2] = {start(0, panel), start(0, panel + 1)};
      T* const sums[2] = {place(0, panel, 0), place(0, panel + 1, 1)};
      const RowPointers<1, T> pointers{{left.row(0)}, left.segment, left.jump};
      multiply_tile<1, 2, T>(from, pointers, panels + panel * stride, stride, K, sums);
      finish(0, panel, 1, sums[0]);
      finish(0, panel + 1, 1, sums[1]);
    }
  }

  // Blocks of equal size, of whole segments where there are several.
  const bool segments = left.segment < K;
  const Index blocks = rows > Tile<T>::rows ? divide_up(K, Tile<T>::block) : 1;
  const Index even = blocks > 1 ? divide_up(K, blocks) : K;
  const Index block = segments ? divide_up(even, left.segment) * left.segment : even;
  for (; done < count; ++done) {
    const Index panel = order.at(done);
    Index k = 0;
    do {
      const Index depth = smaller(block, K - k);
      const Index skip = segments ? k / left.segment * left.jump : k;
      const W* block_panel = panels + panel * stride + k * columns;
      for_each_tile<T>(rows, [&](Index first, Index tile_rows) FUSEDLSTM_INLINE {
        const bool last = k + depth == K;
        T* paused = partial + first * columns;
        const Start<T> from[1] = {k == 0 ? start(first, panel) : Start<T>{paused, columns}};
        T* const sums[1] = {last ? place(first, panel, 0) : paused};
        const T* left_rows[Tile<T>::rows] = {};
        for (Index r = 0; r < tile_rows; ++r) left_rows[r] = left.row(first + r) + skip;
        with_tile_rows<Tile<T>::rows>(tile_rows, [&](auto known) FUSEDLSTM_INLINE {
          constexpr int R = decltype(known)::value;
          RowPointers<R, T> pointers;
          for (int r = 0; r < R; ++r) pointers.p[r] = left_rows[r];
          pointers.segment = segments ? left.segment : depth;
          pointers.jump = left.jump;
          multiply_tile<R, 1, T>(from, pointers, block_panel, 0, depth, sums);
        });
        if (last) finish(first, panel, tile_rows, sums[0]);
      });
      k += depth;
    } while (k < K);
  }
}

// A multiplier without a state: vectors need none, tile registers have a shape.
struct NoUnit {};

// A left operand and its panels.
template <class Row, class W>
struct Product {
  Index K;
  Row row;
  const W* panels;
};

// As `multiply`, for the sum of two products: chains of the first one's multiply-adds and then the second's,
// without a pause between. For K of both that is no more than a block, and more rows than one.
template <class T, class First, class Second, class W, class Begin, class Place, class Finish>
[[gnu::always_inline]] inline void multiply_both(Index rows, const Product<First, W>& one,
                                                 const Product<Second, W>& two, PanelOrder order,
                                                 const Begin& start, const Place& place,
                                                 const Finish& finish) {
  constexpr Index columns = Tile<T>::columns;
  for (Index done = 0; done < order.range.size(); ++done) {
    const Index panel = order.at(done);
    for_each_tile<T>(rows, [&](Index first, Index tile_rows) FUSEDLSTM_INLINE {
      const Start<T> from[1] = {start(first, panel)};
      T* const sums[1] = {place(first, panel, 0)};
      const T* ones[Tile<T>::rows] = {};
      const T* twos[Tile<T>::rows] = {};
      for (Index r = 0; r < tile_rows; ++r) {
        ones[r] = one.row(first + r);
        twos[r] = two.row(first + r);
      }
      with_tile_rows<Tile<T>::rows>(tile_rows, [&](auto known) FUSEDLSTM_INLINE {
        constexpr int R = decltype(known)::value;
        RowPairs<R, T, W> pairs;
        for (int r = 0; r < R; ++r) {
          pairs.p[r] = ones[r];
          pairs.second[r] = twos[r];
        }
        pairs.segment = one.K;
        pairs.second_segment = two.K;
        pairs.second_panel = two.panels + panel * two.K * columns;
        multiply_tile<R, 1, T>(from, pairs, one.panels + panel * one.K * columns, 0, one.K + two.K, sums);
      });
      finish(first, panel, tile_rows, sums[0]);
    });
  }
}

}  // namespace fusedlstm::FUSEDLSTM_ISA

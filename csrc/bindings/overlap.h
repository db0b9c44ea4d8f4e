// Whether arrays share memory, exactly: strides included.
#pragma once

#include <string>
#include <vector>

#include "../lstm.h"
#include "held.h"

namespace fusedlstm::bindings {

// An array in C order: its bytes are one piece.
struct Piece {
  std::uintptr_t first = 0;
  Index bytes = 0;
};

// An array of at most two dimensions whose last one is contiguous: rows of `bytes`, `stride` apart, which may
// be negative, or zero.
struct Rows {
  std::uintptr_t first = 0;
  Index bytes = 0;
  Index count = 1;
  Index stride = 0;
};

// `element`: bytes of one. To ask an array for it takes longer than all else here.
Piece piece_of(const Held& array, Index element);
Rows rows_of(const Held& array, Index element);

// Whether a byte belongs to both. Empty arrays share nothing.
bool overlap(const Piece& piece, const Rows& rows);
bool overlap(const Piece& a, const Piece& b);

// An array of a call, and whether the call writes to it.
struct UsedPiece {
  Piece piece;
  bool written = false;
};

// The two of them, the one in front first, of which one is written and which share memory, if there are any;
// else two past the end. Takes them in any order of addresses.
std::pair<std::size_t, std::size_t> first_conflict(const std::vector<UsedPiece>& used);

}  // namespace fusedlstm::bindings

// Operations that no model has, as a mistake puts them in place of the right ones.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "assay/array.h"
#include "assay/taps.h"

namespace assay {

// A rotary embedding in place of the spec's.
struct Rotary {
  std::vector<std::int64_t> layers = {};  // empty: all
  // What these are rounded to; kF32: not at all.
  DType positions = DType::kF32;
  DType frequencies = DType::kF32;
  DType angles = DType::kF32;
  DType table = DType::kF32;
  DType products = DType::kF32;  // queries and keys too, which go into them
  // Of each token; empty: its own.
  std::vector<std::int64_t> position_of = {};
  // Of each pair, an angle a position; empty: the model's.
  std::vector<double> inv_freq = {};
  bool operator==(const Rotary&) const = default;
};

// Values held between two limits. Queries, keys, values, gate and up are limited behind the tap
// that shows them, the residual stream before it.
struct Limit {
  Tap tap;
  double least = 0;
  double most = 0;
  bool operator==(const Limit&) const = default;
};

// Row `id` of the embedding is row `from`; -1: zero.
struct EmbeddingRow {
  std::int64_t id = 0;
  std::int64_t from = -1;
  bool operator==(const EmbeddingRow&) const = default;
};

struct Operations {
  std::optional<Rotary> rotary = {};
  // One more score in each head's softmax that belongs to no position; one: the same in all heads.
  std::vector<double> sinks = {};
  std::vector<Limit> limits = {};
  std::vector<EmbeddingRow> embedding_rows = {};
  bool rows_in_head = false;                                     // they are a tied head's too
  std::vector<std::pair<std::int64_t, double>> logit_bias = {};  // added to the logit of an id
  double final_norm_softcap = 0;  // cap * tanh(x / cap) of what the head reads; 0: none
  // The sequence is cut before these positions: no token sees what lies before its own piece.
  std::vector<std::int64_t> cuts = {};
  bool operator==(const Operations&) const = default;
};

}  // namespace assay

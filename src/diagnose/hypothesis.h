// The right model with something wrong about it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "diagnose/weight_change.h"
#include "models/program.h"
#include "rewrite/held_values.h"
#include "rewrite/store.h"

namespace assay {

// Row `id` of the embedding is row `from`; -1: zero.
struct EmbeddingRow {
  std::int64_t id = 0;
  std::int64_t from = -1;
  bool operator==(const EmbeddingRow&) const = default;
};

struct Hypothesis {
  Program program;                         // the model's own, but for what is wrong
  std::vector<WeightChange> weights = {};  // of the layers
  LayerOrder order = {};
  std::optional<WeightChange> embedding = {};  // of embed_tokens
  std::optional<WeightChange> head = {};
  std::vector<EmbeddingRow> embedding_rows = {};
  bool rows_in_head = false;  // they are a tied head's too
  std::vector<HeldValues> held = {};
  Store store = Store::kOwn;
  bool operator==(const Hypothesis&) const = default;
};

using Change = std::function<void(Hypothesis&)>;

// Makes the change in these layers alone (empty: in the whole model). What lies outside of the
// layers and what concerns their order stays as it was.
void apply_in(std::span<const std::int64_t> layers, const Change& change, Hypothesis& hypothesis);

}  // namespace assay

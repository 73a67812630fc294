// A hypothesis: the right model with something wrong in it.
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

// Row `id` of the embedding has row `from`'s values; -1: zeros.
struct EmbeddingRow {
  std::int64_t id = 0;
  std::int64_t from = -1;
  bool operator==(const EmbeddingRow&) const = default;
};

struct Hypothesis {
  Program program;                         // the model's own, with the mistake
  std::vector<WeightChange> weights = {};  // of the layers
  LayerOrder order = {};
  std::optional<WeightChange> embedding = {};  // of embed_tokens
  std::optional<WeightChange> head = {};
  std::vector<EmbeddingRow> embedding_rows = {};
  bool rows_in_head = false;  // a tied head has these rows too
  std::vector<HeldValues> held = {};
  Store store = Store::kOwn;
  bool operator==(const Hypothesis&) const = default;
};

using Change = std::function<void(Hypothesis&)>;

// Makes the change only in these layers (empty: in the whole model). What is outside the layers,
// and their order, stays unchanged.
void apply_in(std::span<const std::int64_t> layers, const Change& change, Hypothesis& hypothesis);

}  // namespace assay

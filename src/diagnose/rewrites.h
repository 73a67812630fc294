// Rewrites of a program for the catalog's mistakes.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <vector>

#include "diagnose/hypothesis.h"
#include "models/spec.h"
#include "rewrite/edit.h"
#include "rewrite/elementwise.h"
#include "rewrite/experts.h"
#include "rewrite/gate.h"
#include "rewrite/norm.h"
#include "rewrite/rotary.h"

namespace assay {

// Applies change(odd) to each operation of that kind in the layers.
template <class Odd, class Change>
void change_layers(Program& program, const Change& change) {
  for (Block& layer : program.layers) {
    change_each<Odd>(layer, [&](Odd& odd, const Step&) { change(odd); });
  }
}

// Applies change(norm) to the norms whose results these taps show.
template <class Change>
void change_norms(Program& program, std::span<const Tap> taps, const Change& change) {
  const auto in = [&](Block& block) {
    change_each<OddNorm>(block, [&](OddNorm& norm, const Step& step) {
      const std::optional<Tap> tap = block.values[step.writes[0]].tap;
      if (tap && std::ranges::count(taps, *tap) > 0) change(norm);
    });
  };
  for (Block& layer : program.layers) in(layer);
  in(program.head);
}

// Applies change(rotation) to rotations whose results this tap shows, in these layers (empty: all).
template <class Change>
void change_rotations(Program& program, Tap tap, const Change& change) {
  for (Block& layer : program.layers) {
    change_each<OddRotate>(layer, [&](OddRotate& rotation, const Step& step) {
      if (layer.values[step.writes[0]].tap == tap) change(rotation);
    });
  }
}

// Applies change(attention) to the attention of every layer.
template <class Change>
void change_attention(Program& program, const Change& change) {
  for (Block& layer : program.layers) {
    if (AttentionEdit attention(layer); attention) change(*attention);
  }
}

// Applies query and key norms to all heads together, or to each head separately.
void join_heads_of_norms(Program& program);
void part_heads_of_norms(Program& program);
// Moves query and key norms after the rotary embedding.
void norms_after_rotation(Program& program);
// Applies the keys' norm, or their rotation, to the values.
void normalise_values(Program& program);
void rotate_values(Program& program);

// The residual stream that a block's output, shown by `sum`, is added to.
enum class Residual : std::uint8_t {
  kNormed,      // the output of the block's own norm
  kNone,        // nothing is added
  kLayerInput,  // the stream before attention
};
void add_to(Program& program, Tap sum, Residual from);
// Lets the MLP read the layer's input, not the stream after attention.
void run_in_parallel(Program& program);
// Moves the layers' norms after the adds (norms after the blocks are dropped if there are both), or
// from after the blocks to before them. has_norms_before: of the model itself, because an earlier
// mistake may have moved the program's norms.
void norms_after_adds(Program& program, bool has_norms_before);
void norms_before_blocks(Program& program);

// Makes the layers that `slides` accepts slide, with that window and the sliding layers' RoPE
// table.
void slide_in(Program& program, std::int64_t window,
              const std::function<bool(std::int64_t)>& slides);
// Changes the window of the layers that have one.
void change_window(Program& program, std::int64_t window);

// Changes the number of experts of each token.
void set_experts_per_token(Program& program, std::int64_t count);
// Replaces expert e by e + `by`.
void shift_experts(Program& program, std::int64_t by);

// Computes logits from the neighbouring position's row; multiplies them; caps them (0: no cap).
void shift_head_rows(Program& program, std::int64_t by);
void scale_logits(Program& program, double by);
void cap_logits(Program& program, double cap);
// Caps the final norm's result, in one rounding.
void cap_final_norm(Program& program, double cap);
void bias_logits(Program& program, std::vector<std::pair<std::int64_t, double>> ids);

// Clamps the tap's values: the residual stream before it is shown, others after.
void limit(Program& program, Tap tap, double least, double most);

// Replaces the head's matrix by the embedding, or the final norm's weight by that tensor.
void use_embedding_as_head(Program& program);
void use_as_final_norm(Program& program, const TensorUse& tensor);

// The engine's positions and frequencies, in these layers (empty: all).
struct Rotary {
  std::vector<std::int64_t> layers = {};
  RotaryTypes types = {};
  std::vector<std::int64_t> position_of = {};
  std::vector<double> inv_freq = {};
};
void set_rotary(Program& program, const Rotary& rotary);

}  // namespace assay

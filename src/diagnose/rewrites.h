// What the catalog's mistakes make of a program.
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

// Each operation of that kind in the layers. change(odd)
template <class Odd, class Change>
void change_layers(Program& program, const Change& change) {
  for (Block& layer : program.layers) {
    change_each<Odd>(layer, [&](Odd& odd, const Step&) { change(odd); });
  }
}

// The norms whose results these taps show. change(norm)
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

// Rotations whose results this tap shows, in these layers (empty: all). change(rotation)
template <class Change>
void change_rotations(Program& program, Tap tap, const Change& change) {
  for (Block& layer : program.layers) {
    change_each<OddRotate>(layer, [&](OddRotate& rotation, const Step& step) {
      if (layer.values[step.writes[0]].tap == tap) change(rotation);
    });
  }
}

// The attention of every layer. change(attention)
template <class Change>
void change_attention(Program& program, const Change& change) {
  for (Block& layer : program.layers) {
    if (AttentionEdit attention(layer); attention) change(*attention);
  }
}

// Query and key norms over all heads together, or over each head apart.
void join_heads_of_norms(Program& program);
void part_heads_of_norms(Program& program);
// They stand after the rotary embedding.
void norms_after_rotation(Program& program);
// Values pass through the keys' norm; or are rotated as keys are.
void normalise_values(Program& program);
void rotate_values(Program& program);

// Where the residual stream comes from that a block's output, shown by `sum`, is added to.
enum class Residual : std::uint8_t {
  kNormed,      // what the block's own norm made of it
  kNone,        // nothing is added
  kLayerInput,  // the stream before attention
};
void add_to(Program& program, Tap sum, Residual from);
// The MLP reads the layer's input, not what attention's add made of it.
void run_in_parallel(Program& program);
// The layers' norms stand after the adds, where they stand before the blocks or after them (those
// after them are left out where there are both); or before the blocks, where they stand after them.
void norms_after_adds(Program& program, Norms own);
void norms_before_blocks(Program& program);

// Layers slide, or do not: with that window, and with the RoPE table of those that do.
void slide_in(Program& program, std::int64_t window,
              const std::function<bool(std::int64_t)>& slides);
// Another window in the layers that have one.
void change_window(Program& program, std::int64_t window);

// Each token goes to that many experts.
void set_experts_per_token(Program& program, std::int64_t count);
// Expert e's place is taken by e + this.
void shift_experts(Program& program, std::int64_t by);

// Logits of a position are made of its neighbour's row; are multiplied; are capped (0: not).
void shift_head_rows(Program& program, std::int64_t by);
void scale_logits(Program& program, double by);
void cap_logits(Program& program, double cap);
// The final norm's result is capped, in one rounding.
void cap_final_norm(Program& program, double cap);
void bias_logits(Program& program, std::vector<std::pair<std::int64_t, double>> ids);

// Values of the tap held between two limits: the residual stream before it is shown, others after.
void limit(Program& program, Tap tap, double least, double most);

// The head's matrix is the embedding; the final norm's weight that tensor.
void use_embedding_as_head(Program& program);
void use_as_final_norm(Program& program, const TensorUse& tensor);

// What an engine makes of positions and frequencies; in these layers (empty: all).
struct Rotary {
  std::vector<std::int64_t> layers = {};
  RotaryTypes types = {};
  std::vector<std::int64_t> position_of = {};
  std::vector<double> inv_freq = {};
};
void set_rotary(Program& program, const Rotary& rotary);

}  // namespace assay

// Where in the computation an array was taken: engines hand in what lies a step before or behind a
// tap. One list, and one wording, for compare and diagnose.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "candidate/data_flow.h"
#include "models/spec.h"

namespace assay {

// One way in which an array differs from its tap without being wrong, and how it becomes the tap:
// value = softcap(scale * x) * weight of the channel, hidden entries masked. Or it holds another
// tap's values altogether.
struct DumpForm {
  std::string text;  // "taken before the embedding is scaled"
  double scale = 1;
  double softcap = 0;         // cap * tanh(x / cap); 0: none
  bool masks = false;         // scores: what the mask hides is not hidden yet
  bool lacks_weight = false;  // of a norm: `weight` is to be multiplied in
  bool pairs = false;         // each rotary pair's two channels lie side by side
  bool exchanged = false;     // the two taps' arrays stand under each other's names
  std::optional<TapPlace> holds = {};

  bool operator==(const DumpForm& other) const { return text == other.text; }
};

// All forms that an array of that tap is seen in, the commonest first; those that hold another tap
// last. Softcap, scale and head sizes are the spec's.
std::vector<DumpForm> forms_of(const TapPlace& place, const ModelSpec& spec);

// q and k with each rotary pair's channels side by side: what comes of permuting the rows of q_proj
// and k_proj and rotating neighbours (llama.cpp, torchtune). Scores are the same: a layout.
DumpForm paired_channels();
// Whether the tap is one that paired_channels() speaks of.
bool has_rotary_pairs(Tap tap);

// Arrays of one family in one form stand or fall together: those of a tap, but for forms that are
// of several taps at once.
int family_of(Tap tap, const DumpForm& form);

// The tap's values from the array's, [rows, width] in the reference's layout, in place. weight: of
// a form that lacks it, one element for each channel of the norm (Gemma: 1 + weight), of a length
// that divides the width.
void apply_form(const DumpForm& form, const ModelSpec& spec, const TapPlace& place,
                std::span<const float> weight, std::size_t width, std::span<float> values);

// Whether an array of that name is what a module returns, which may be a step before the tap: the
// lm_head gives logits that are not capped yet.
bool is_module_name(std::string_view array_name);

// Whether the form is believed where nothing in the dump follows the array: hidden_states, whose
// order is a known trap, and what a module of that name returns.
bool is_known_trap(const TapPlace& place, std::string_view array_name, const DumpForm& form);

// "layer_03_q_proj"; "input_norm of layers 0 to 5"; "input_norm of all layers".
std::string places_text(std::span<const TapPlace> places, const ModelSpec& spec);

// What is said of arrays that nothing explains, and that the engine did not go on with.
std::string_view not_gone_on_with();

}  // namespace assay

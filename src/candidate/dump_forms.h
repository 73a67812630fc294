// Where in the computation an array was taken: engines may dump a value one step before or after a
// tap. compare and diagnose share this list and its texts.
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

// A way in which an array differs from its tap without being wrong, and how to convert it: value =
// softcap(scale * x) * weight of the channel, with hidden entries masked. Or it holds another tap's
// values.
struct DumpForm {
  std::string text;  // "taken before the embedding is scaled"
  double scale = 1;
  double softcap = 0;         // cap * tanh(x / cap); 0: none
  bool masks = false;         // scores: not masked yet
  bool lacks_weight = false;  // of a norm: not multiplied by `weight` yet
  bool pairs = false;         // each rotary pair's two channels are adjacent
  bool exchanged = false;     // the arrays of two taps have each other's names
  std::optional<TapPlace> holds = {};

  bool operator==(const DumpForm& other) const { return text == other.text; }
};

// All known forms of the tap's arrays, the commonest first, those that hold another tap last.
// Softcap, scale and head sizes come from the spec.
std::vector<DumpForm> forms_of(const TapPlace& place, const ModelSpec& spec);

// q and k with each rotary pair's channels adjacent, because the rows of q_proj and k_proj are
// permuted and RoPE rotates neighbours (llama.cpp, torchtune). Scores are the same, so it is a
// layout.
DumpForm paired_channels();
// Whether paired_channels() applies to the tap.
bool has_rotary_pairs(Tap tap);

// What an array is said to hold if its values are another tap's and the two are known to be mixed
// up: the final norm's output in the last layer's place, or a block's output with or without the
// residual. other_name: of the other tap, as the sentence is to call it. layers: of the model. None
// for other pairs.
std::optional<std::string> known_mix_up(const TapPlace& own, const TapPlace& other,
                                        std::string_view other_name, std::int64_t layers);
// The end of a sentence about a sum that was taken before the residual was added.
std::string_view residual_not_added();

// Whether the tap shows a norm's result.
bool is_norm(Tap tap);

// Arrays of one family in one form are accepted or rejected together. A family is a tap, except for
// forms of several taps at once.
int family_of(Tap tap, const DumpForm& form);

// Converts the array's values to the tap's, [rows, width] in the reference's layout, in place.
// weight: for a form that lacks it, one element per channel of the norm (Gemma: 1 + weight); its
// length divides the width.
void apply_form(const DumpForm& form, const ModelSpec& spec, const TapPlace& place,
                std::span<const float> weight, std::size_t width, std::span<float> values);

// What a name tells of an array that claims a tap. Of several, the one of the highest kind counts.
enum class NameKind {
  kModule,  // a module's return value, which may be a step before the tap: lm_head's logits are not
            // capped yet
  kOutput,  // "output": such a module in some engines, what the model returns in others
  kValue,   // what the engine goes on with
};
NameKind kind_of_name(std::string_view array_name);
// Whether the name is that of what a model returns, whatever it is ("output", or "output~2" where a
// module has that name): if it cannot be read as logits, it is none.
bool is_any_output(std::string_view array_name);

// Whether the form is accepted without arrays after it in the dump: hidden_states, whose order is a
// known trap, and what a module of that name returns.
bool is_known_trap(const TapPlace& place, std::string_view array_name, const DumpForm& form);

// "layer_03_q_proj"; "input_norm of layers 0 to 5"; "input_norm of all layers".
std::string places_text(std::span<const TapPlace> places, const ModelSpec& spec);

// The text for unexplained arrays that the engine did not compute with.
std::string_view not_gone_on_with();

}  // namespace assay

// The frequencies of a rotary position embedding, as a config's `rope_parameters` (or, before
// transformers 5, `rope_theta` and `rope_scaling`) say them.
#pragma once

#include <cstdint>
#include <vector>

namespace assay {

// How the frequencies theta^(-2i/dims) are stretched for longer contexts.
enum class RopeScaling : std::uint8_t {
  kNone,
  kLinear,    // all divided by `factor`
  kDynamic,   // theta grows once a sequence is longer than max_position_embeddings (NTK)
  kYarn,      // slow ones divided by `factor`, fast ones kept, a ramp between (arXiv 2309.00071)
  kLlama3,    // the same with a ramp over wavelengths (Llama 3.1)
  kLongrope,  // each divided by its own factor: one list for short sequences, one for long ones
  kProportional,  // all divided by `factor`, and all but the fastest `part` of them 0 (Gemma 4)
};

struct RopeParameters {
  double theta = 10000;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1;
  // Context length of the pretraining: of kDynamic, max_position_embeddings.
  double original_length = 0;
  double attention_factor = 1;                       // cos and sin times this (kYarn, kLongrope)
  double beta_fast = 32, beta_slow = 1;              // kYarn: rotations where the ramp ends, begins
  bool truncate = true;                              // kYarn: ends of the ramp rounded outwards
  double low_freq_factor = 1, high_freq_factor = 4;  // kLlama3
  double part = 1;                                   // kProportional
  std::vector<double> short_factor = {}, long_factor = {};  // kLongrope: [dims / 2]

  // Whether the frequencies are others in a longer sequence.
  bool depend_on_length() const {
    return scaling == RopeScaling::kDynamic || scaling == RopeScaling::kLongrope;
  }
  bool operator==(const RopeParameters&) const = default;
};

}  // namespace assay

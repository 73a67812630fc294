// A candidate is judged at the precision that its values show.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "assay/array.h"
#include "assay/comparison.h"
#include "model/array_noise.h"
#include "numerics/noise.h"
#include "verify/profile.h"

namespace assay {

// The grid on which an array's values lie; none where too few of them tell.
std::optional<Grid> grid_of(const ArrayView& array);

// How far a run of one type lies from the oracle, by tap name.
using NoiseByTap = std::map<std::string, ArrayNoise>;

// What --as asks for.
enum class ExpectedType : std::uint8_t { kF32, kF16, kBf16, kQ8 };
// "f32", ...; none for "". Throws a usage error for any other text.
std::optional<ExpectedType> parse_expected(const std::string& text);

// The same, ready to judge by. No array's noise is taken for less than that of its tap over all
// layers: where an array has few values (scores of a short prompt, the weights of two experts)
// chance may make its own run's error small.
class TypeNoise {
 public:
  explicit TypeNoise(NoiseByTap noise);

  struct Levels {
    double whole = 0;
    double positions = 0;  // root mean square
    bool last_only = false;
    const ArrayNoise* noise = nullptr;  // of the array itself
  };
  // None where nothing is known of it, or not of these positions.
  std::optional<Levels> levels(const TensorResult& tensor) const;
  // The candidate's error from the oracle over this noise; none where levels() has none.
  std::optional<double> ratio(const TensorResult& tensor) const;

 private:
  NoiseByTap noise_;
  std::map<std::string, Levels> of_tap_;
};

// The type that values of such an engine are held in.
Grid grid_of(ExpectedType as);

// What is known of a prompt, to judge its tensors by. Null: nothing.
struct Precision {
  std::optional<ExpectedType> as;  // none: as the values show
  std::shared_ptr<const TypeNoise> f32 = {};
  std::shared_ptr<const TypeNoise> f16 = {};
  std::shared_ptr<const TypeNoise> q8 = {};  // of FP32 with activations rounded to 8 bits
};

// The type that each tensor is held to, none for what has no noise: its own grid, or the coarsest
// of those before it in the data flow, since an engine that computes there in F16 hands on F16's
// errors; or what `as` says.
std::vector<std::optional<Grid>> types_of(std::span<const TensorResult> tensors,
                                          std::optional<ExpectedType> as);

// Of one that was measured and judged by the profile, whose type is known.
void judge_precision(TensorResult& tensor, std::optional<Grid> type, const Precision& precision,
                     const Profile& profile);

// Of all tensors of a prompt, in data-flow order, that were measured and judged by the profile:
// those that pass and lie further from the oracle than their type allows become coarse. An
// expected type coarser than the reference's widens what passes. compare, the in-process check and
// diagnose all call it.
void judge_precision(std::span<TensorResult> tensors, const Precision& precision,
                     const Profile& profile);

// What the verdicts of passed tensors rest on beyond the profile; empty where nothing is to say.
std::string about_precision(std::span<const PromptResult> prompts);

}  // namespace assay

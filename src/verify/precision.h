// Judges a candidate at the precision that its values show.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "assay/array.h"
#include "assay/comparison.h"
#include "candidate/module_flow.h"
#include "model/array_noise.h"
#include "numerics/noise.h"
#include "verify/profile.h"

namespace assay {

// The grid on which an array's values are; none if too few of them tell.
std::optional<Grid> grid_of(const ArrayView& array);

// Distance between a run in one type and the oracle, by tap name.
using NoiseByTap = std::map<std::string, ArrayNoise>;

// The values of --as.
enum class ExpectedType : std::uint8_t { kF32, kF16, kBf16, kQ8 };
// "f32", ...; none for "". Throws a usage error for any other text.
std::optional<ExpectedType> parse_expected(const std::string& text);

// The same, ready for judging. An array's noise is at least that of its tap over all layers: if an
// array has few values (scores of a short prompt, the weights of two experts), its own run's error
// may be small by chance.
class TypeNoise {
 public:
  explicit TypeNoise(NoiseByTap noise);

  struct Levels {
    double whole = 0;
    double positions = 0;  // root mean square
    bool last_only = false;
    const ArrayNoise* noise = nullptr;  // of the array itself
  };
  // None if its noise, or that of these positions, is unknown.
  std::optional<Levels> levels(const TensorResult& tensor) const;
  // The candidate's error from the oracle divided by this noise; none if levels() is none, or if
  // the array is a single value for each of very few positions.
  std::optional<double> ratio(const TensorResult& tensor) const;

 private:
  NoiseByTap noise_;
  std::map<std::string, Levels> of_tap_;
};

// The type in which such an engine stores values.
Grid grid_of(ExpectedType as);

// What a prompt's tensors are judged by. Null: unknown.
struct Precision {
  std::optional<ExpectedType> as;  // none: as the values show
  std::shared_ptr<const TypeNoise> f32 = {};
  std::shared_ptr<const TypeNoise> f16 = {};
  std::shared_ptr<const TypeNoise> q8 = {};        // of FP32 with activations rounded to 8 bits
  std::shared_ptr<const ModuleFlow> modules = {};  // a captured reference's; null: there are taps
};

// The type that each tensor is judged by, or none if it has no noise: its own grid, or the coarsest
// of those before it in the data flow, since an engine that computes in F16 there passes on F16's
// errors; or that of precision.as.
std::vector<std::optional<Grid>> types_of(std::span<const TensorResult> tensors,
                                          const Precision& precision);

// For a tensor of known type that was measured and judged by the profile.
void judge_precision(TensorResult& tensor, std::optional<Grid> type, const Precision& precision,
                     const Profile& profile);

// For all tensors of a prompt, in data-flow order, that were measured and judged by the profile:
// those that pass but are further from the oracle than their type allows become coarse. An expected
// type coarser than the reference's widens what passes. compare, the in-process check and diagnose
// all call it.
void judge_precision(std::span<TensorResult> tensors, const Precision& precision,
                     const Profile& profile);

// What passed tensors were judged by in addition to the profile; may be empty.
std::string about_precision(std::span<const PromptResult> prompts);

}  // namespace assay

// Two arrays of any shape, type and bits under a tap's name: read, measured and judged.
#include "verify/compare_arrays.h"

#include <cmath>

#include "candidate/data_flow.h"
#include "candidate/reference_files.h"
#include "formats/array_file.h"
#include "target.h"

namespace assay {
namespace {

constexpr std::array kTaps = {"logits",
                              "layer_00_output",
                              "layer_01_q_proj",
                              "layer_00_attn_scores",
                              "layer_00_attn_probs",
                              "layer_00_expert_ids",
                              "layer_00_router_logits",
                              "final_norm_output",
                              "rope_cos",
                              "something"};

// Up to 4096 elements.
Array take_array(Choices& choices, const std::string& name) {
  Array array{name, static_cast<DType>(choices.below(15)), {}, {}};
  const std::size_t rank = choices.below(6);
  std::int64_t count = 1;
  for (std::size_t a = 0; a < rank; ++a) {
    const auto extent = static_cast<std::int64_t>(choices.below(18));
    array.shape.push_back(count * extent <= 4096 ? extent : 1);
    count *= array.shape.back();
  }
  array.bytes.resize(static_cast<std::size_t>(count) * dtype_size(array.dtype));
  return array;
}

// The bytes that are there, again and again.
void fill(Array& array, std::span<const std::byte> bits) {
  if (bits.empty()) return;
  for (std::size_t i = 0; i < array.bytes.size(); ++i) array.bytes[i] = bits[i % bits.size()];
}

class OneArray : public ArrayFile::Source {
 public:
  explicit OneArray(const Array& array) : array_(array) {}
  std::vector<std::string> names() const override { return {array_.name}; }
  std::uint64_t size_of(std::string_view) const override { return array_.bytes.size(); }
  LoadedArray load(std::string_view) const override { return {array_.view(), {}, {}}; }

 private:
  const Array& array_;
};

}  // namespace

FUZZ_TARGET(compare_arrays) {
  Choices choices(input);
  const std::string name = choices.one_of(kTaps);
  const std::size_t how = choices.byte();
  Array reference = take_array(choices, name);
  Array candidate =
      how % 2 == 0 ? Array{name, reference.dtype, reference.shape, {}} : take_array(choices, name);
  candidate.bytes.resize(static_cast<std::size_t>(element_count(candidate.shape, name)) *
                         dtype_size(candidate.dtype));
  Array oracle{name, DType::kF64, reference.shape, {}};
  oracle.bytes.resize(static_cast<std::size_t>(element_count(oracle.shape, name)) * 8);
  ReadingHints hints;
  if (how % 16 >= 8) {
    hints.window = {static_cast<std::int64_t>(choices.below(6)),
                    static_cast<std::int64_t>(choices.below(20))};
    hints.decoded = static_cast<std::int64_t>(choices.below(6));
    hints.vocabulary = choices.flag();
    hints.reversed = choices.flag();
  }
  const std::int64_t same_until =
      how % 32 >= 16 ? static_cast<std::int64_t>(choices.below(20)) : ExpertChoices::kAll;
  const std::span<const std::byte> bits = choices.rest();
  const std::size_t half = bits.size() / 2;
  fill(reference, bits);
  fill(candidate, how % 64 >= 32 ? bits.subspan(half) : bits);
  fill(oracle, bits.first(half));

  // What is asked of a reference when it is opened.
  if (!accepts([&] {
        expect_shapes_of_taps(ArrayFile("r", std::make_unique<OneArray>(reference)), nullptr);
      })) {
    return;
  }
  const auto place = parse_tap_name(name);
  const std::size_t axis = place ? position_axis(place->tap) : 1;
  if (reference.shape.size() <= axis) return;  // not a tap, so it is not compared
  const bool has_oracle = how % 4 >= 2;
  const ArrayView reference_view = reference.view();
  const ArrayView oracle_view = oracle.view();
  const Profile profile("noise", has_oracle);
  TensorResult tensor;
  tensor.name = name;
  accepts([&] {
    const auto reading = compare_arrays(tensor,
                                        {.reference = reference_view,
                                         .oracle = has_oracle ? &oracle_view : nullptr,
                                         .position_axis = axis,
                                         .hints = hints,
                                         .same_until = same_until},
                                        candidate.view(), profile, nullptr);
    require(reading.has_value() == (tensor.verdict != Verdict::kError),
            "no reading is an error, and nothing else is");
    require(tensor.verdict == Verdict::kPass || !tensor.reason.empty(), "a failure has a reason");
    // The same bits pass where they are numbers.
    const bool same = candidate.dtype == reference.dtype && candidate.shape == reference.shape &&
                      candidate.bytes == reference.bytes;
    if (same && reading && !has_oracle && hints.window.total == 0 && !hints.reversed &&
        hints.decoded == 0 && same_until == ExpertChoices::kAll) {
      const TensorMetrics& m = tensor.metrics;
      require(m.relative_l2 == 0 && m.max_abs == 0 && m.unlike == 0, "no distance from itself");
      require(m.nan_candidate == m.nan_reference && m.inf_candidate == m.inf_reference,
              "as many that are not numbers on both sides");
    }
  });
}

}  // namespace assay

// The same port in C++, running the prompt token by token, as decoding does; it looks at each
// verdict itself and stops at the first failure.
//
//   find_package(assay REQUIRED)
//   target_link_libraries(first_layer PRIVATE assay::assay)
//
//   ./first_layer [--wrong] reference_data MODEL.safetensors ID...
#include <assay.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "tiny_safetensors.h"

namespace {

struct Close {
  void operator()(assay_checker* checker) const { assay_close(checker); }
};
using Checker = std::unique_ptr<assay_checker, Close>;

Checker open_checker(const char* reference) {
  assay_options options = {};
  options.size = sizeof options;
  options.reference = reference;
  Checker checker(assay_open(&options));
  if (!checker) std::fprintf(stderr, "%s\n", assay_message());
  return checker;
}

// A row of one position. False when it is wrong.
bool check(const Checker& checker, const char* name, const std::vector<float>& row) {
  const int64_t shape[] = {static_cast<int64_t>(row.size())};
  assay_result result = {};
  result.size = sizeof result;
  assay_check(checker.get(), name, row.data(), ASSAY_F32, 1, shape, nullptr, &result);
  if (result.verdict == ASSAY_PASS) return true;
  std::printf("%s: relative L2 %.3g: %s\n", name, result.relative_l2, result.message);
  return false;
}

std::vector<float> rms_norm(const std::vector<float>& x, const tensor& weight, double epsilon) {
  double sum = 0;
  for (const float value : x) sum += double{value} * value;
  const auto scale = static_cast<float>(1 / std::sqrt(sum / double(x.size()) + epsilon));
  std::vector<float> out;
  for (std::size_t i = 0; i < x.size(); ++i) {
    out.push_back(x[i] * scale * from_bf16(weight.bf16[i]));
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  const bool wrong = !words.empty() && words[0] == "--wrong";
  if (wrong) words.erase(words.begin());
  if (words.size() < 3) return 2;
  const checkpoint model = open_checkpoint(words[1].c_str());
  const tensor embedding = find_tensor(model, "model.embed_tokens.weight");
  const tensor norm = find_tensor(model, "model.layers.0.input_layernorm.weight");
  const Checker checker = open_checker(words[0].c_str());
  if (!checker) return 3;

  std::vector<int64_t> ids;
  for (std::size_t i = 2; i < words.size(); ++i) ids.push_back(std::stol(words[i]));
  const int64_t count[] = {static_cast<int64_t>(ids.size())};
  assay_check(checker.get(), "input_ids", ids.data(), ASSAY_I64, 1, count, nullptr, nullptr);

  for (std::size_t position = 0; position < ids.size(); ++position) {
    assay_set_positions(checker.get(), static_cast<int64_t>(position), 1);
    std::vector<float> x;
    for (long i = 0; i < embedding.columns; ++i) {
      x.push_back(from_bf16(embedding.bf16[ids[position] * embedding.columns + i]));
    }
    // The mistake: an epsilon from another model.
    const std::vector<float> normed = rms_norm(x, norm, wrong ? 1e-2 : 1e-6);
    if (!check(checker, "embedding_output", x)) return 1;
    if (!check(checker, "layer_00_input_norm", normed)) return 1;
  }
  std::printf("%s", assay_report_text(checker.get()));
  return 0;
}

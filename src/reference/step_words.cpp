#include "reference/step_words.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <utility>
#include <variant>

#include "base/half.h"
#include "numerics/numerics.h"

namespace assay {
namespace {

constexpr const char* kCapRounding = "the quotient by the cap, its tanh, and the cap times that";

// A step with the names of what it reads and writes.
class Speaker {
 public:
  Speaker(const ModelSpec& spec, const Block& block, const Step& step,
          std::vector<std::string> reads, std::vector<std::string> writes)
      : spec_(spec),
        block_(block),
        step_(step),
        reads_(std::move(reads)),
        writes_(std::move(writes)) {}

  StepWords words() const {
    return std::visit([this](const auto& operation) { return of(operation); }, step_.operation);
  }

 private:
  // "q_proj.weight", without what all tensors of the block begin with.
  static std::string short_name(const TensorUse& tensor) {
    const std::size_t end = tensor.name.rfind('.');
    const std::size_t begin = tensor.name.rfind('.', end - 1);
    std::string name = tensor.name.substr(begin == tensor.name.npos ? 0 : begin + 1);
    if (tensor.stored > tensor.rows) {
      name += fmt::format("[{}:{}]", tensor.first, tensor.first + tensor.rows);
    }
    return name;
  }

  // Query heads that share a key head.
  std::int64_t group_of(ValueId queries, ValueId keys) const {
    return block_.values[queries].shape[0] / block_.values[keys].shape[0];
  }

  StepWords of(const Lookup& lookup) const {
    std::string row = fmt::format("{} = {}[id]", writes_[0], short_name(step_.tensors[0]));
    if (lookup.parts > 1) {
      const std::int64_t width = step_.tensors[0].cols / lookup.parts;
      row += fmt::format("[{}:{}]", lookup.part * width, (lookup.part + 1) * width);
    }
    if (lookup.scale == 1) return {row, "none", ""};
    const bool root = lookup.scale == std::sqrt(static_cast<double>(spec_.hidden_size));
    const float factor = bf16_to_f32(f32_to_bf16(static_cast<float>(lookup.scale)));
    return {row + fmt::format(" * {}{}", lookup.scale, root ? " (sqrt(hidden_size))" : ""),
            fmt::format("the factor is rounded first, to {}; then the product", factor), ""};
  }

  // No model that is read from a checkpoint has one.
  StepWords of(const Foreign&) const { return {"an operation that brings its own code", "", ""}; }

  StepWords of(const RmsNorm& norm) const {
    const bool bare = step_.tensors.empty();
    const std::string weight = bare ? "" : short_name(step_.tensors[0]);
    const std::string factor = bare            ? ""
                               : norm.one_plus ? " * (1 + " + weight + ")"
                                               : " * " + weight;
    const std::vector<std::int64_t>& shape = block_.values[step_.writes[0]].shape;
    const std::string over =
        shape.size() == 1 ? fmt::format("the {} elements of a token", norm.width)
        : norm.width == shape.back()
            ? fmt::format("the {} elements of each head", norm.width)
            : fmt::format("all {} elements of a token's heads together", norm.width);
    return {
        fmt::format("{0} = {1} / sqrt(mean({1}^2) + {2}){3}, the mean over {4}", writes_[0],
                    reads_[0], norm.eps, factor, over),
        bare ? "once; everything before it is in FP32"
        : norm.rounded_once
            ? "once, after the weight; everything before it is in FP32"
            : "twice: the normalised value (computed in FP32), then its product with the weight",
        ""};
  }

  StepWords of(const Linear& linear) const {
    std::vector<std::string> all;
    std::size_t output = 0;
    bool biased = false;
    for (std::size_t i = 0; i < step_.tensors.size(); ++output) {
      std::string formula =
          fmt::format("{} = {} @ {}^T", writes_[output], reads_[0], short_name(step_.tensors[i++]));
      if (i < step_.tensors.size() && step_.tensors[i].rows == 0) {
        formula += " + " + short_name(step_.tensors[i++]);
        biased = true;
      }
      all.push_back(std::move(formula));
    }
    return {fmt::format("{}", fmt::join(all, "; ")),
            !linear.rounded ? "none: the result stays in FP32"
            : biased        ? "once, after the bias; products and sums in FP32"
                            : "once; products and sums in FP32",
            ""};
  }

  StepWords of(const Rotate& rotate) const {
    const std::int64_t half = rotate.dims / 2;
    std::string formula = fmt::format(
        "for 0 <= d < {0}, of every head: {1}[p][d] = {2}[p][d] * cos[p][d] - {2}[p][d + {0}] * "
        "sin[p][d]; {1}[p][d + {0}] = {2}[p][d + {0}] * cos[p][d] + {2}[p][d] * sin[p][d]",
        half, writes_[0], reads_[0]);
    if (rotate.dims < block_.values[step_.writes[0]].shape.back()) {
      formula += fmt::format("; elements from {} on stay as they are", rotate.dims);
    }
    return {formula,
            rotate.rounded_once ? "once: cos, sin and the products stay in FP32"
                                : "cos and sin are rounded, then each product, then the result",
            fmt::format("p is the token's position, from 0; cos and sin are rotary table {}",
                        rotate.table)};
  }

  StepWords of(const ScaleByPosition& scale) const {
    return {fmt::format("{}[p] = {}[p] * (1 + {} * log(1 + floor(p / {})))", writes_[0], reads_[0],
                        scale.growth, scale.length),
            "the factor, then the product",
            fmt::format("p is the token's position, from 0; before position {} the factor is 1",
                        scale.length)};
  }

  StepWords of(const Scores& scores) const {
    const std::int64_t group = group_of(step_.reads[0], step_.reads[1]);
    const std::int64_t head_dim = block_.values[step_.reads[0]].shape.back();
    StepWords words;
    const std::string dot =
        fmt::format("({}[i][h] . {}[j][h // {}]) * {}", reads_[0], reads_[1], group, scores.scale);
    if (scores.cap > 0) {
      words.formula =
          fmt::format("s = {0}; {1}[h][i][j] = {2} * tanh(s / {2})", dot, writes_[0], scores.cap);
      words.rounding = std::string("the dot product, s, ") + kCapRounding;
    } else {
      words.formula = fmt::format("{}[h][i][j] = {}", writes_[0], dot);
      words.rounding = "the dot product, then its product with the scale";
    }
    if (scores.scale != 1 / std::sqrt(static_cast<double>(head_dim))) {
      words.formula += "; the scale is not 1 / sqrt(head_dim)";
    }
    const std::string seen =
        scores.window > 0 ? fmt::format("i - {} < j <= i", scores.window) : std::string("j <= i");
    words.position = fmt::format(
        "the query at position i sees the keys at {}; where it does not see one, {}[h][i][j] is "
        "set to the lowest finite value ({} in BF16, {} in FP32)",
        seen, writes_[0], Bf16::kMasked, F32::kMasked);
    return words;
  }

  StepWords of(const Softmax& softmax) const {
    if (softmax.sinks) {
      return {fmt::format("{0}[h][i][j] = exp({1}[h][i][j] - m) / (exp({2}[h] - m) + sum over k of "
                          "exp({1}[h][i][k] - m)), with m the greatest of {1}[h][i][k] and {2}[h]",
                          writes_[0], reads_[0], short_name(step_.tensors[0])),
              "each difference from m, then the result; exponentials, sum and division in FP32",
              "j and k are the keys that the query sees; all other probabilities are 0"};
    }
    return {fmt::format("{0}[h][i][j] = exp({1}[h][i][j] - m) / sum over k of exp({1}[h][i][k] - "
                        "m), with m the greatest {1}[h][i][k]",
                        writes_[0], reads_[0]),
            "once, at the end; exponentials, sum and division in FP32",
            "j and k are the keys that the query sees; all other probabilities are 0"};
  }

  StepWords of(const Context&) const {
    const std::int64_t group = group_of(step_.reads[0], step_.reads[1]);
    const std::int64_t head_dim = block_.values[step_.reads[1]].shape.back();
    return {fmt::format("{0}[i][h * {1} .. (h + 1) * {1}] = sum over j of {2}[h][i][j] * "
                        "{3}[j][h // {4}]",
                        writes_[0], head_dim, reads_[0], reads_[1], group),
            "once; products and sums in FP32", ""};
  }

  StepWords of(const Add&) const {
    return {fmt::format("{} = {} + {}", writes_[0], reads_[1], reads_[0]),
            "once, when it is written", ""};
  }

  StepWords of(const Multiply& multiply) const {
    const std::string factor =
        step_.tensors.empty() ? fmt::format("{}", multiply.factor) : short_name(step_.tensors[0]);
    return {fmt::format("{} = {} * {}", writes_[0], reads_[0], factor), "once; the factor is not",
            ""};
  }

  StepWords of(const Gate& gate) const {
    if (gate.activation == Activation::kSwish) {
      const std::string limited =
          gate.limit > 0 ? fmt::format("g = min({0}, {2}); u = max(min({1}, {2}), -{2})", reads_[0],
                                       reads_[1], gate.limit)
                         : fmt::format("g = {}; u = {}", reads_[0], reads_[1]);
      return {fmt::format("{}; s = 1 / (1 + exp(-{} * g)); {} = {} * (g * s)", limited, gate.alpha,
                          writes_[0], gate.up_plus_one ? "(u + 1)" : "u"),
              fmt::format("{} * g, s, g * s, {}the result", gate.alpha,
                          gate.up_plus_one ? "u + 1, " : ""),
              ""};
    }
    const bool silu = gate.activation == Activation::kSilu;
    const std::string formula =
        silu ? fmt::format("a = {0} / (1 + exp(-{0}))", reads_[0])
             : fmt::format("a = 0.5 * {0} * (1 + tanh(sqrt(2 / pi) * ({0} + 0.044715 * {0}^3)))",
                           reads_[0]);
    return {formula + fmt::format("; {} = a * {}", writes_[0], reads_[1]),
            "a, which is computed in FP32, then the product", ""};
  }

  StepWords of(const SigmoidGate&) const {
    return {fmt::format("{} = {} / (1 + exp(-{}))", writes_[0], reads_[0], reads_[1]),
            "the sigmoid, which is computed in FP32, then the product", ""};
  }

  StepWords of(const Unpack& unpack) const {
    std::vector<std::string> all;
    std::int64_t group = 0;
    for (const std::int64_t width : unpack.widths) group += width;
    for (std::size_t o = 0; o < writes_.size(); ++o) {
      std::vector<std::string> parts;
      std::int64_t first = 0;
      for (std::size_t p = 0; p < unpack.widths.size(); ++p) {
        const std::int64_t last = first + unpack.widths[p];
        if (unpack.into[p] == o)
          parts.push_back(fmt::format("elements {} to {} of every group", first, last - 1));
        first = last;
      }
      all.push_back(fmt::format("{} = {}", writes_[o], fmt::join(parts, ", then ")));
    }
    return {fmt::format("{} is {} groups of {} elements; {}", reads_[0], unpack.groups, group,
                        fmt::join(all, "; ")),
            "none", ""};
  }

  StepWords of(const Sigmoid&) const {
    return {fmt::format("{} = 1 / (1 + exp(-{}))", writes_[0], reads_[0]), "once; computed in FP32",
            ""};
  }

  StepWords of(const CausalConv& conv) const {
    return {
        fmt::format("for each channel c: y = sum over 0 <= j < {0} of {1}[c][0][j] * {2}[p - {3} "
                    "+ j][c]; {4}[p][c] = y / (1 + exp(-y))",
                    conv.taps, short_name(step_.tensors[0]), reads_[0], conv.taps - 1, writes_[0]),
        "y, which is computed in FP32, then the result",
        fmt::format("p is the token's position; {} is 0 before position 0", reads_[0])};
  }

  StepWords of(const Decay&) const {
    return {fmt::format("{} = -exp({}) * softplus({} + {}), with softplus(x) = log(1 + exp(x))",
                        writes_[0], short_name(step_.tensors[0]), reads_[0],
                        short_name(step_.tensors[1])),
            "none: the result stays in FP32", ""};
  }

  StepWords of(const DeltaRule& rule) const {
    const std::int64_t share = rule.value_heads / rule.key_heads;
    const std::int64_t keys = rule.key_heads * rule.key_dim;
    return {fmt::format(
                "for each of {0} heads h, with a state M of [{1}, {2}], in the order of tokens: "
                "q = the {1} elements of {3} from (h // {4}) * {1} on, k = those from {5} + (h // "
                "{4}) * {1} on, v = the {2} from {6} + h * {2} on; q = q / sqrt(sum(q^2) + {7}), "
                "k likewise; M = M * exp({8}[h]); M = M + k^T ({9}[h] * (v - k M)); {10}[h] = "
                "(q * {11}) M",
                rule.value_heads, rule.key_dim, rule.value_dim, reads_[0], share, keys, 2 * keys,
                rule.eps, reads_[2], reads_[1], writes_[0], rule.scale),
            "the result, once; M and everything before it in FP32", "M is 0 before position 0"};
  }

  StepWords of(const GatedNorm& norm) const {
    return {
        fmt::format("n = {0} / sqrt(mean({0}^2) + {1}) * {2}, the mean over the {3} elements of "
                    "each head; {4} = n * {5} / (1 + exp(-{5}))",
                    reads_[0], norm.eps, short_name(step_.tensors[0]), norm.width, writes_[0],
                    reads_[1]),
        "the normalised value (computed in FP32), its product with the weight, and the result; "
        "not what n is multiplied by",
        ""};
  }

  StepWords of(const RouterScores& scores) const {
    const bool sigmoid = scores.function == RouterFunction::kSigmoid;
    return {sigmoid ? fmt::format("{} = 1 / (1 + exp(-{}))", writes_[0], reads_[0])
                    : fmt::format("{} = softmax({}) over all experts", writes_[0], reads_[0]),
            "none: in FP32", ""};
  }

  StepWords of(const CorrectScores& correct) const {
    return {fmt::format("{} = {} + {}", writes_[0], reads_[0], short_name(step_.tensors[0])),
            correct.rounds_bias ? "none: in FP32, to a bias that was rounded when it was loaded"
                                : "none: in FP32, also the bias",
            ""};
  }

  StepWords of(const TopExperts& top) const {
    std::string formula = fmt::format("{} = ids of the {} greatest of {} over {} experts",
                                      writes_[0], top.per_token, reads_[0], top.experts);
    if (top.groups > 1) {
      formula += fmt::format(
          ", of those in {} of {} groups of neighbouring experts: the groups with the greatest "
          "sums "
          "of their two best",
          top.kept, top.groups);
    }
    formula += top.sorted ? ", greatest first (for ties see docs/models.md)"
                          : ", unsorted (see docs/models.md)";
    return {formula, "none", ""};
  }

  StepWords of(const ExpertWeights& weights) const {
    std::string formula = fmt::format("{} = {}{} at {}", writes_[0],
                                      weights.softmax ? "softmax of " : "", reads_[0], reads_[1]);
    if (weights.sum_to_one) formula += ", divided by the sum of a token's own";
    if (weights.eps > 0) formula += fmt::format(" + {}", weights.eps);
    if (weights.factor != 1) formula += fmt::format(", times {}", weights.factor);
    if (!step_.tensors.empty()) {
      formula += fmt::format(", times {} at {}", short_name(step_.tensors[0]), reads_[1]);
    }
    return {formula,
            weights.rounded ? "once, at the end; division in FP32" : "none: the result is in FP32",
            ""};
  }

  StepWords of(const ExpertLinear& experts) const {
    std::vector<std::string> all;
    const std::size_t outputs = writes_.size();
    const std::size_t per_output = step_.tensors.size() / outputs;
    const bool biased = per_output > 1;
    for (std::size_t i = 0; i < outputs; ++i) {
      const std::string of = fmt::format("experts[{}[k]]", reads_[1]);
      all.push_back(fmt::format("{}[k] = {}{} @ {}.{}^T", writes_[i], reads_[0],
                                outputs == 1 ? "[k]" : "", of,
                                short_name(step_.tensors[i * per_output])));
      if (biased) all.back() += fmt::format(" + {}.{}", of, short_name(step_.tensors[i * 2 + 1]));
    }
    return {fmt::format("for each of a token's {} experts k: {}", experts.per_token,
                        fmt::join(all, "; ")),
            biased ? "twice: the product (products and sums in FP32), then its sum with the bias"
                   : "once; products and sums in FP32",
            ""};
  }

  StepWords of(const SumExperts& sum) const {
    return {fmt::format("{} = sum over k of {}[k] * {}[k]", writes_[0], reads_[0], reads_[1]),
            sum.rounds_products ? "each product, then their FP32 sum, in the order of expert_ids"
                                : "once: the FP32 sum of FP32 products, in the order of expert_ids",
            ""};
  }

  StepWords of(const Softcap& softcap) const {
    return {fmt::format("{0} = {1} * tanh({2} / {1})", writes_[0], softcap.cap, reads_[0]),
            kCapRounding, ""};
  }

  const ModelSpec& spec_;
  const Block& block_;
  const Step& step_;
  std::vector<std::string> reads_, writes_;
};

}  // namespace

StepWords words_of(const ModelSpec& spec, const Block& block, const Step& step,
                   std::vector<std::string> reads, std::vector<std::string> writes) {
  return Speaker(spec, block, step, std::move(reads), std::move(writes)).words();
}

}  // namespace assay

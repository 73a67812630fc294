#include "verify/profile.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <cmath>

#include "assay/error.h"
#include "base/nearest_name.h"
#include "base/text.h"
#include "formats/json_file.h"
#include "numerics/noise.h"

namespace assay {
namespace {

// Two correct BF16 runs of a model with 28 layers differ by 1 to 3 per cent.
constexpr double kWithoutOracle = 0.05;
constexpr double kRopeTable = 1e-6;

}  // namespace

Profile::Profile(const std::string& name_or_file, bool has_oracle) : name_(name_or_file) {
  Limits rope;
  rope.max_abs = kRopeTable;
  if (name_ == "table") {
    const auto classic = [](double mse, double cosine, double max_abs) {
      Limits limits;
      limits.mse = mse;
      limits.cosine = cosine;
      limits.max_abs = max_abs;
      return limits;
    };
    statement_ = "every tap is within the classic absolute thresholds";
    rules_ = {{"rope_*", rope},
              {"logits", classic(1e-3, 0.99, 0.1)},
              {"embedding_output", classic(1e-5, 0.999, 0.001)},
              {"layer_0[0-9]_*", classic(1e-5, 0.999, 0.001)},
              {"layer_10_*", classic(1e-5, 0.999, 0.001)},
              {"layer_00[0-9]_*", classic(1e-5, 0.999, 0.001)},  // for more than 100 layers
              {"layer_010_*", classic(1e-5, 0.999, 0.001)},
              {"layer_*", classic(1e-4, 0.999, 0.01)},
              {"final_norm_output", classic(1e-4, 0.999, 0.01)}};
  } else if (name_ == "noise") {
    Limits limits;
    if (has_oracle) {
      limits.noise_ratio = kBeyondRunNoise;
      statement_ = fmt::format(
          "no tap is further from the f64 oracle than {:g} times the reference's own error",
          kBeyondRunNoise);
    } else {
      limits.relative_l2 = kWithoutOracle;
      statement_ = fmt::format(
          "no tap is further from the reference than a relative L2 of {:g}; small errors stay "
          "unseen, because the reference has no oracle (make one with extract --numerics bf16,f64)",
          kWithoutOracle);
    }
    rules_ = {{"rope_*", rope}, {"*", limits}};
  } else if (name_.ends_with(".json")) {
    read(name_or_file);
  } else {
    const std::vector<std::string> known = {"noise", "table"};
    throw usage_error("--profile", "'" + name_ + "'",
                      "noise, table or a .json file" + did_you_mean(name_, known));
  }
}

Profile::Profile(double tolerance)
    : name_("tolerance"),
      statement_(fmt::format("no tap is further from the reference than a relative L2 of {:g}",
                             tolerance)) {
  Limits limits;
  limits.relative_l2 = tolerance;
  rules_ = {{"*", limits}};
}

void Profile::read(const std::string& file) {
  const OrderedJson json = load_json(file);
  const auto rules = json.is_object() ? json.find("rules") : json.end();
  if (!json.is_object() || rules == json.end() || !rules->is_array() || rules->empty()) {
    throw input_error(file, "no list 'rules'", R"({"rules": [{"taps": GLOB, "mse": 1e-5}, ...]})");
  }
  for (std::size_t i = 0; i < rules->size(); ++i) {
    const OrderedJson& entry = (*rules)[i];
    const std::string where = field_text(file, fmt::format("rules[{}]", i));
    if (!entry.is_object() || !entry.contains("taps") || !entry["taps"].is_string()) {
      throw input_error(where, "no string 'taps'", "a glob over tap names");
    }
    Rule rule{entry["taps"], {}};
    for (const auto& [key, value] : entry.items()) {
      if (key == "taps") continue;
      std::optional<double>* limit = key == "mse"           ? &rule.limits.mse
                                     : key == "relative_l2" ? &rule.limits.relative_l2
                                     : key == "cosine"      ? &rule.limits.cosine
                                     : key == "max_abs"     ? &rule.limits.max_abs
                                     : key == "noise_ratio" ? &rule.limits.noise_ratio
                                                            : nullptr;
      if (limit == nullptr) {
        throw input_error(where, "field '" + shown(key) + "'",
                          "taps, mse, relative_l2, cosine, max_abs or noise_ratio");
      }
      if (!value.is_number()) {
        throw input_error(fmt::format("{}.{}", where, key), shown(value.dump()), "a number");
      }
      *limit = value.get<double>();
    }
    const Limits& l = rule.limits;
    if (!l.mse && !l.relative_l2 && !l.cosine && !l.max_abs && !l.noise_ratio) {
      throw input_error(where, "no limit", "at least one: everything would pass");
    }
    rules_.push_back(std::move(rule));
  }
  statement_ = fmt::format("every tap is within the limits of {}", file);
}

std::optional<Limits> Profile::limits(std::string_view tap) const {
  for (const Rule& rule : rules_) {
    if (fnmatch(rule.glob.c_str(), std::string(tap).c_str(), 0) == 0) return rule.limits;
  }
  return std::nullopt;
}

void judge(TensorResult& tensor, const Profile& profile) {
  const TensorMetrics& m = tensor.metrics;
  std::vector<std::string> reasons;
  // These fail whatever the limits are.
  if (m.nan_candidate > 0) reasons.push_back(fmt::format("{} NaN", m.nan_candidate));
  if (m.unlike > m.nan_candidate) {
    reasons.push_back(fmt::format("{} infinite or NaN on one side only", m.unlike));
  }
  if (m.not_hidden > 0) {
    reasons.push_back(
        fmt::format("{} entries that the mask should hide are not hidden", m.not_hidden));
  }
  std::optional<Limits> limits = profile.limits(tensor.name);
  // An engine of a coarser type rounds its tables: by at most half a step below 1. A short prompt's
  // table has too few values to show the type.
  const bool is_table = limits && limits->max_abs == kRopeTable && tensor.name.starts_with("rope_");
  if (is_table && tensor.grid.value_or(Grid::kBf16) == Grid::kBf16) {
    limits->max_abs = kRopeTable + 0x1p-9;
  } else if (is_table && tensor.grid == Grid::kF16) {
    limits->max_abs = kRopeTable + 0x1p-12;
  }
  tensor.limits = limits;
  if (!limits) {
    reasons.push_back("no rule of the profile matches this tap");
  } else {
    // Written so that NaN fails.
    const auto most = [&](const std::optional<double>& limit, std::optional<double> value,
                          std::string_view what) {
      if (!limit || (value && *value <= *limit)) return;
      reasons.push_back(value ? fmt::format("{} {:.3g}, limit {:g}", what, *value, *limit)
                              : fmt::format("{} unknown: the reference has no oracle", what));
    };
    most(limits->noise_ratio, tensor.noise_ratio, "noise ratio");
    if (tensor.noise_ratio) most(limits->noise_ratio, tensor.position_ratio, "per-position ratio");
    most(limits->mse, m.mse, "MSE");
    most(limits->relative_l2, m.relative_l2, "relative L2");
    most(limits->max_abs, m.max_abs, "max abs diff");
    if (limits->cosine && !(m.cosine >= *limits->cosine)) {
      reasons.push_back(fmt::format("cosine {:.6g}, limit {:g}", m.cosine, *limits->cosine));
    }
  }
  if (m.compared == 0 && reasons.empty()) reasons.emplace_back("nothing to compare");
  tensor.verdict = reasons.empty() ? Verdict::kPass : Verdict::kFail;
  tensor.reason = fmt::format("{}", fmt::join(reasons, "; "));
}

}  // namespace assay

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "report/compare_report.h"
#include "report/layout_kinds.h"

namespace assay {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kChannels = 8;

// JSON has neither NaN nor infinity. They become strings, so that nothing is lost.
Json number(double x) {
  if (std::isfinite(x)) return x;
  return std::isnan(x) ? "NaN" : x > 0 ? "Infinity" : "-Infinity";
}

Json numbers(const std::vector<double>& values) {
  Json list = Json::array();
  for (const double x : values) list.push_back(number(x));
  return list;
}

Json worst_channels(const std::vector<double>& rmse) {
  std::vector<std::size_t> order(rmse.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const std::size_t count = std::min(kChannels, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(),
                    [&](std::size_t a, std::size_t b) { return rmse[a] > rmse[b]; });
  Json list = Json::array();
  for (std::size_t i = 0; i < count; ++i) {
    list.push_back({{"channel", order[i]}, {"rmse", number(rmse[order[i]])}});
  }
  return list;
}

Json to_json(const TensorMetrics& m) {
  return {{"compared", m.compared},
          {"mse", number(m.mse)},
          {"rmse", number(m.rmse)},
          {"relative_l2", number(m.relative_l2)},
          {"cosine", number(m.cosine)},
          {"scale_difference", number(m.scale_difference)},
          {"max_abs", number(m.max_abs)},
          {"max_index", m.max_index},
          {"max_reference", number(m.max_reference)},
          {"max_candidate", number(m.max_candidate)},
          {"max_ulp", m.max_ulp},
          {"mean_ulp", number(m.mean_ulp)},
          {"exact_share", number(m.exact_share)},
          {"nan_reference", m.nan_reference},
          {"nan_candidate", m.nan_candidate},
          {"inf_reference", m.inf_reference},
          {"inf_candidate", m.inf_candidate},
          {"unlike", m.unlike},
          {"not_hidden", m.not_hidden},
          {"position_error", numbers(m.position_error)},
          {"worst_channels", worst_channels(m.channel_rmse)}};
}

// [[id, logit], ...] for each position.
Json scores(const std::vector<std::vector<LogitMetrics::Score>>& positions) {
  Json list = Json::array();
  for (const auto& position : positions) {
    Json best = Json::array();
    for (const LogitMetrics::Score& s : position) best.push_back({s.id, number(s.logit)});
    list.push_back(std::move(best));
  }
  return list;
}

Json to_json(const Limits& limits) {
  Json json = Json::object();
  const auto add = [&](const char* name, const std::optional<double>& limit) {
    if (limit) json[name] = *limit;
  };
  add("noise_ratio", limits.noise_ratio);
  add("precision_ratio", limits.precision_ratio);
  add("relative_l2", limits.relative_l2);
  add("mse", limits.mse);
  add("max_abs", limits.max_abs);
  add("cosine", limits.cosine);
  return json;
}

Json to_json(const TensorDetail& detail) {
  Json worst = Json::array();
  for (const TensorDetail::Element& e : detail.worst) {
    worst.push_back({{"index", e.index},
                     {"reference", number(e.reference)},
                     {"candidate", number(e.candidate)}});
  }
  return {{"edges", numbers(detail.edges)},
          {"reference_counts", detail.reference_counts},
          {"candidate_counts", detail.candidate_counts},
          {"worst", std::move(worst)}};
}

Json to_json(const LogitMetrics& l) {
  Json flips = Json::array();
  for (const LogitMetrics::Flip& f : l.flips) {
    flips.push_back({{"position", f.position},
                     {"reference_id", f.reference_id},
                     {"candidate_id", f.candidate_id},
                     {"margin", number(f.margin)},
                     {"bf16_steps", number(f.steps)}});
  }
  return {{"top1_agreement", l.top1_agreement},
          {"top5_agreement", l.top5_agreement},
          {"kl_divergence", number(l.kl_divergence)},
          {"flips", std::move(flips)},
          {"best_of_reference", scores(l.best_of_reference)},
          {"best_of_candidate", scores(l.best_of_candidate)}};
}

}  // namespace

nlohmann::ordered_json tensor_json(const TensorResult& t) {
  Json json = {{"name", t.name}, {"verdict", verdict_name(t.verdict)}};
  if (t.layer) json["layer"] = *t.layer;
  if (!t.block.empty()) json["block"] = t.block;
  if (!t.module.empty()) json["module"] = t.module;
  if (!t.reason.empty()) json["reason"] = t.reason;
  if (t.verdict == Verdict::kNotCompared) return json;
  json["candidate_name"] = t.candidate_name;
  if (t.same_until) json["same_until"] = *t.same_until;
  if (!t.reading.empty()) json["reading"] = t.reading;
  if (t.limits) json["limits"] = to_json(*t.limits);
  if (t.noise) json["noise"] = number(*t.noise);
  if (t.noise_ratio) json["noise_ratio"] = number(*t.noise_ratio);
  if (t.position_ratio) json["position_ratio"] = number(*t.position_ratio);
  if (t.grid) json["grid"] = grid_name(*t.grid);
  if (t.type) json["held_to"] = grid_name(*t.type);
  if (t.precision_ratio) json["precision_ratio"] = number(*t.precision_ratio);
  json["metrics"] = to_json(t.metrics);
  if (t.logits) json["logits"] = to_json(*t.logits);
  if (t.detail) json["detail"] = to_json(*t.detail);
  return json;
}

namespace {

Json to_json(const TokenResult& tokens) {
  Json steps = Json::array();
  for (const TokenStep& s : tokens.steps) {
    steps.push_back({{"position", s.position},
                     {"reference_id", s.reference_id},
                     {"candidate_id", s.candidate_id},
                     {"verdict", verdict_name(s.verdict)},
                     {"bf16_steps", number(s.steps)}});
  }
  return {{"verdict", verdict_name(tokens.verdict)},
          {"reason", tokens.reason},
          {"reference_tokens", tokens.reference_tokens},
          {"candidate_tokens", tokens.candidate_tokens},
          {"replayed", tokens.replayed},
          {"first_difference",
           tokens.first_difference ? Json(*tokens.first_difference) : Json(nullptr)},
          {"past_end", tokens.past_end ? Json(*tokens.past_end) : Json(nullptr)},
          {"steps", std::move(steps)}};
}

}  // namespace

nlohmann::ordered_json compare_json(const CompareReport& report) {
  Json prompts = Json::array();
  for (const PromptResult& p : report.prompts) {
    Json tensors = Json::array();
    for (const TensorResult& t : p.tensors) tensors.push_back(tensor_json(t));
    Json findings = Json::array();
    for (const DumpFinding& f : p.findings) {
      findings.push_back({{"tensor", f.tensor}, {"text", f.text}});
    }
    Json layouts = Json::array();
    for (const LayoutKind& kind : layout_kinds(p)) {
      layouts.push_back(
          {{"example", kind.example}, {"texts", kind.texts}, {"arrays", kind.arrays}});
    }
    Json first = nullptr;
    if (p.first_divergence) {
      first = {{"tensor", p.tensors[*p.first_divergence].name}, {"text", p.divergence_text}};
    }
    prompts.push_back({{"id", p.id},
                       {"passed", p.passed},
                       {"input_ids", p.input_ids},
                       {"tokens_text", p.tokens_text},
                       {"first_divergence", std::move(first)},
                       {"findings", std::move(findings)},
                       {"layouts", std::move(layouts)},
                       {"tokens", p.tokens.compared || !p.tokens.reason.empty() ? to_json(p.tokens)
                                                                                : Json(nullptr)},
                       {"remarks", p.remarks},
                       {"unmatched", p.unmatched},
                       {"tensors", std::move(tensors)}});
  }
  const ReferenceSource& source = report.source;
  return {{"schema", "assay.compare/1"},
          {"program", report.program},
          {"date", report.date},
          {"source",
           {{"model", source.model},
            {"model_type", source.model_type},
            {"weights_sha256", source.weights_sha256},
            {"program", source.program},
            {"numerics", source.numerics},
            {"oracle", source.oracle}}},
          {"passed", report.passed},
          {"cause", failure_cause(report)},
          {"coarse", report.coarse},
          {"precision", report.precision},
          {"reference", report.reference},
          {"candidate", report.candidate},
          {"profile", report.profile},
          {"statement", report.statement},
          {"blind_spots", report.blind_spots},
          {"missing_prompts", report.missing_prompts},
          {"unused_files", report.unused_files},
          {"prompts", std::move(prompts)}};
}

}  // namespace assay

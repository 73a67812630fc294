// A reference of the bundled model, and candidates with known faults.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "assay/compare.h"
#include "assay/extract.h"
#include "assay/npz.h"
#include "base/temporary_directory.h"

namespace assay {

inline const std::filesystem::path kModel = ASSAY_ROOT "/models/tiny-qwen3";

// One prompt of five tokens: every tap of layer 5 and the classic set, with oracle.
inline const std::filesystem::path& reference() {
  static const TemporaryDirectory directory;
  static const bool made = [] {
    ExtractOptions options;
    options.model = kModel;
    options.out = directory.path();
    options.numerics = {Numerics::kBf16, Numerics::kF64};
    options.taps = {"layer_05_*"};
    extract(options, prompts_from_texts({"The capital of France is"}));
    return true;
  }();
  static const std::filesystem::path path = made ? directory.path() : std::filesystem::path();
  return path;
}

// The reference's own arrays, to be changed and written as a candidate.
class SpoiledDump {
 public:
  SpoiledDump() {
    const NpzReader npz(reference() / "prompt1/reference.npz");
    for (const std::string& name : npz.names()) arrays_[name] = npz.read(name);
  }
  Array& operator[](const std::string& name) { return arrays_.at(name); }
  std::span<float> values(const std::string& name) { return arrays_.at(name).as<float>(); }
  void erase(const std::string& name) { arrays_.erase(name); }
  void only(const std::string& prefix) {
    std::erase_if(arrays_, [&](const auto& a) { return !a.first.starts_with(prefix); });
  }
  void rename(const std::string& from, const std::string& to) {
    arrays_[to] = std::move(arrays_.at(from));
    arrays_.erase(from);
  }
  // Multiplied by 1 + error, with another error for each element.
  void disturb(const std::string& name, float error) {
    float sign = 1;
    for (float& x : values(name)) x *= 1 + (sign = -sign) * error;
  }
  void copy(const std::string& from, const std::string& to) {
    arrays_.at(to).bytes = arrays_.at(from).bytes;
  }

  std::vector<ArrayView> views() {
    std::vector<ArrayView> all;
    for (auto& [name, array] : arrays_) {
      array.name = name;
      all.push_back(array.view());
    }
    return all;
  }
  std::filesystem::path write() {
    write_npz(directory_ / "candidate.npz", views(), Compression::kNone);
    return directory_ / "candidate.npz";
  }
  const TemporaryDirectory& directory() const { return directory_; }

 private:
  TemporaryDirectory directory_;
  std::map<std::string, Array> arrays_;
};

inline CompareOptions options_for(const std::filesystem::path& candidate) {
  CompareOptions options;
  options.reference = reference();
  options.candidate = candidate;
  return options;
}

inline PromptResult run(SpoiledDump& candidate) {
  CompareReport report = compare(options_for(candidate.write()));
  PromptResult result = std::move(report.prompts.at(0));
  const bool bad = result.first_divergence.has_value();
  EXPECT_EQ(report.passed, !bad);
  return result;
}

inline const TensorResult& tensor(const PromptResult& result, const std::string& name) {
  return *std::ranges::find(result.tensors, name, &TensorResult::name);
}

inline std::string first(const PromptResult& result) {
  return result.first_divergence ? result.tensors[*result.first_divergence].name : "";
}

// All findings about the tensor, joined.
inline std::string found(const PromptResult& result, const std::string& name) {
  std::string text;
  for (const DumpFinding& f : result.findings) {
    if (f.tensor == name) text += f.text;
  }
  return text;
}

}  // namespace assay

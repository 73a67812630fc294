// A small reference as `assay capture` writes it, of a model that nobody else knows.
#pragma once

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "assay/npz.h"
#include "base/temporary_directory.h"
#include "formats/json_file.h"

namespace assay {

// Two blocks of two modules: embed -> h.0.a -> h.0.b -> h.1.a -> h.1.b -> head. Every h.N.b also
// reads what its block reads. "pool" and "expert" have no positions.
class CapturedReference {
 public:
  static constexpr std::int64_t kTokens = 6;
  static constexpr std::int64_t kWidth = 40;
  static constexpr std::int64_t kRows = 4;  // of the tokens that "expert" got

  CapturedReference() {
    add("input_ids", {1, kTokens}, {}, {{"class", "input"}});
    add("embed", {1, kTokens, kWidth}, {"input_ids"}, {{"lookup", true}});
    add("h.0.a", {1, kTokens, kWidth}, {"embed"},
        {{"also", OrderedJson::array({"h.0.a.inner"})}, {"reach", "position"}});
    add("h.0.b", {1, kTokens, kWidth}, {"embed", "h.0.a"}, {{"reach", "position"}});
    add("h.1.a", {1, kTokens, kWidth}, {"h.0.b"}, {{"reach", "causal"}});
    add("h.1.a#2", {1, kTokens, kWidth}, {"h.1.a"}, {{"reach", "position"}});
    add("h.1.b", {1, kTokens, kWidth}, {"h.0.b", "h.1.a#2"}, {{"reach", "position"}});
    add("pool", {1, kWidth}, {"h.1.b"}, {});
    add("expert", {kRows, kWidth}, {"h.1.b"}, {});
    manifest["arrays"]["h.0.a"]["block"] = manifest["arrays"]["h.0.b"]["block"] = "h.0";
    for (const char* name : {"h.1.a", "h.1.a#2", "h.1.b"})
      manifest["arrays"][name]["block"] = "h.1";
  }

  // The reference's files, with what a test has changed in `manifest`.
  std::filesystem::path written() const {
    const std::filesystem::path out = directory_.path();
    std::filesystem::create_directories(out / "prompt1");
    write_npz(out / "prompt1/reference.npz", views(reference_));
    write_npz(out / "prompt1/oracle.npz", views(oracle_));
    OrderedJson prompt = {
        {"id", "prompt1"},
        {"files", {{"reference", "prompt1/reference.npz"}, {"oracle", "prompt1/oracle.npz"}}},
        {"arrays", manifest["arrays"]}};
    OrderedJson json = {{"schema", "assay.reference/1"},
                        {"producer", {{"name", "transformers"}, {"version", "5"}}},
                        {"numerics", "bf16"},
                        {"oracle", "f64"},
                        {"data_flow", manifest.value("data_flow", OrderedJson("modules"))},
                        {"model", {{"path_name", "tiny"}, {"config", {{"model_type", "own"}}}}},
                        {"prompts", OrderedJson::array({prompt})}};
    write_json(out / "manifest.json", json);
    return out;
  }

  // A correct engine's arrays: as far from the oracle as the reference, with other signs.
  std::vector<Array> candidate() const {
    std::vector<Array> arrays = reference_;
    for (std::size_t i = 0; i < arrays.size(); ++i) {
      if (arrays[i].dtype != DType::kF32) continue;
      const auto exact = oracle_[i].as<float>();
      for (std::size_t at = 0; float& x : arrays[i].as<float>()) {
        x = exact[at] + (at % 3 == 0 ? 1.0F : -1.0F) * (x - exact[at]);
        ++at;
      }
    }
    return arrays;
  }

  std::filesystem::path dumped(const std::vector<Array>& arrays) const {
    const std::filesystem::path file = directory_.path() / "dump.npz";
    write_npz(file, views(arrays));
    return file;
  }

  static Array& named(std::vector<Array>& arrays, std::string_view name) {
    return *std::ranges::find(arrays, name, &Array::name);
  }
  static void spoil(std::vector<Array>& arrays, std::string_view name) {
    for (float& x : named(arrays, name).as<float>()) x *= 1.5F;
  }
  static void spoil(std::vector<Array>& arrays, std::string_view name, std::int64_t position) {
    for (float& x : named(arrays, name)
                        .as<float>()
                        .subspan(static_cast<std::size_t>(position * kWidth),
                                 static_cast<std::size_t>(kWidth))) {
      x = -x;
    }
  }

  OrderedJson manifest = {{"arrays", OrderedJson::object()}};

 private:
  static std::vector<ArrayView> views(const std::vector<Array>& arrays) {
    std::vector<ArrayView> all;
    for (const Array& array : arrays) all.push_back(array.view());
    return all;
  }

  static double noise_of(std::span<const float> run, std::span<const float> exact) {
    double error = 0;
    double size = 0;
    for (std::size_t i = 0; i < run.size(); ++i) {
      const auto x = static_cast<double>(run[i]);
      const auto y = static_cast<double>(exact[i]);
      error += (x - y) * (x - y);
      size += y * y;
    }
    return std::sqrt(error / size);
  }

  void add(const std::string& name, const Shape& shape, const std::vector<std::string>& from,
           const OrderedJson& more) {
    const bool is_ids = name == "input_ids";
    Array exact{name, is_ids ? DType::kI64 : DType::kF32, shape, {}};
    Array rounded = exact;
    const auto size = static_cast<std::size_t>(element_count(shape, name));
    exact.bytes.resize(size * dtype_size(exact.dtype));
    rounded.bytes.resize(exact.bytes.size());
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < size; ++i) {
      if (is_ids) {
        exact.as<std::int64_t>()[i] = rounded.as<std::int64_t>()[i] = static_cast<std::int64_t>(i);
      } else {
        const float x = normal(random_);
        exact.as<float>()[i] = x;
        rounded.as<float>()[i] = x + 0.005F * normal(random_);
      }
    }
    OrderedJson json = {{"shape", shape},
                        {"dtype", is_ids ? "I64" : "F32"},
                        {"module", name.substr(0, name.find('#'))},
                        {"class", "Own"},
                        {"from", from}};
    if (!is_ids) json["noise"] = noise_of(rounded.as<float>(), exact.as<float>());
    if (shape.at(1) == kTokens) json["positions"] = 1;
    if (!more.is_null()) json.update(more);
    manifest["arrays"][name] = std::move(json);
    reference_.push_back(std::move(rounded));
    oracle_.push_back(std::move(exact));
  }

  TemporaryDirectory directory_;
  std::mt19937 random_{1};
  std::vector<Array> reference_;
  std::vector<Array> oracle_;
};

}  // namespace assay

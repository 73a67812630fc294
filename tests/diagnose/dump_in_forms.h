// One dump in every form that engines write.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>

#include "assay/check.h"
#include "assay/compare.h"
#include "assay/diagnose.h"
#include "assay/extract.h"
#include "assay/npz.h"
#include "base/temporary_directory.h"
#include "candidate/data_flow.h"
#include "candidate/expert_slots.h"
#include "candidate/positions.h"
#include "diagnose/changed_arrays.h"
#include "model/families.h"
#include "model/synth.h"

namespace assay {

namespace fs = std::filesystem;

constexpr std::int64_t kPrompt = 11;

// A mixture of experts (MoE), with every kind of array that a dump may have.
struct World {
  TemporaryDirectory directory;
  fs::path model;
  fs::path reference;  // of the prompt, with its text
  fs::path longer;     // of the prompt and its text, run as one
  std::vector<std::int64_t> text;

  World() : model(directory / "model"), reference(directory / "ref"), longer(directory / "longer") {
    nlohmann::json config = family_configs()[1].second;
    config["eos_token_id"] = 99;
    write_text(directory / "config.json", config.dump());
    SynthOptions synth;
    synth.config = directory / "config.json";
    synth.out = model;
    synth.seed = 4;
    synthesize(synth);
    std::vector<std::int64_t> ids;
    for (std::int64_t i = 0; i < kPrompt; ++i) ids.push_back((i * 37 + 13) % 90);
    text = run(reference, ids);
    run(longer, text);
  }

  std::vector<std::int64_t> run(const fs::path& out, const std::vector<std::int64_t>& ids) const {
    ExtractOptions options;
    options.model = model;
    options.out = out;
    options.numerics = {Numerics::kBf16, Numerics::kF64};
    options.taps = {"*"};
    options.max_new_tokens = 4;
    Prompt prompt;
    prompt.id = "p";
    prompt.input_ids = ids;
    return extract(options, {prompt}).at(0).generated_ids;
  }
};

inline const World& world() {
  static const World made;
  return made;
}

inline Arrays arrays_of(const fs::path& reference) {
  Arrays all;
  const NpzReader npz(reference / "p" / "reference.npz");
  for (const std::string& name : npz.names()) {
    const bool is_tap = parse_tap_name(name).has_value() || name.starts_with("rope_");
    if (is_tap || name == "input_ids") all[name] = npz.read(name);
  }
  return all;
}

struct Form {
  const char* name;
  std::function<void(Arrays&)> make;
  const char* said = "";       // in the report of compare and diagnose; empty: anything
  bool of_longer_run = false;  // made from the run that continues
  bool alone = true;           // diagnose can read it without a reference
  const char* rules = "";      // of a map
};

inline const std::vector<Form>& forms() {
  static const std::vector<Form> all = {
      {"Plain", [](Arrays&) {}},
      {"IdsU32", [](Arrays& a) { ids_as<std::uint32_t>(a, DType::kU32); }},
      {"IdsU64", [](Arrays& a) { ids_as<std::uint64_t>(a, DType::kU64); }},
      {"IdsI8", [](Arrays& a) { ids_as<std::int8_t>(a, DType::kI8); }},
      {"IdsF32", [](Arrays& a) { ids_as<float>(a, DType::kF32); }},
      {"NoBatchAxis",
       [](Arrays& a) {
         for (auto& [name, array] : a) array.shape.erase(array.shape.begin());
       }},
      {"VocabularyPaddedTo128",
       [](Arrays& a) { a.at("logits") = padded(a.at("logits"), 2, 0, 27, -1e4); },
       "the vocabulary padded from 101 to 128"},
      {"VocabularyPaddedToAnything",
       [](Arrays& a) { a.at("logits") = padded(a.at("logits"), 2, 0, 9, 0); },
       "the vocabulary padded from 101 to 110"},
      {"ShapesTheOtherWayRound",
       [](Arrays& a) {
         for (auto& [name, array] : a) std::ranges::reverse(array.shape);
       },
       "the bytes are laid out as"},
      {"AxesTheOtherWayRound",
       [](Arrays& a) {
         for (auto& [name, array] : a) transpose(array);
       },
       "axes permuted"},
      {"GoesOn", [](Arrays&) {}, "the run goes on after the prompt", true},
      {"GoesOnPadded", [](Arrays& a) { pad_positions(a, 2, 0); },
       "the run goes on after the prompt", true},
      {"PaddedInFront", [](Arrays& a) { pad_positions(a, 5, 0); }, "padding before the prompt",
       false},
      {"PaddedByOne", [](Arrays& a) { pad_positions(a, 1, 0); }, "padding before the prompt", false,
       false},
      // As a hook on the head sees generate(): the prompt's last position, then each step.
      {"GoesOnLogitsOfSteps",
       [](Arrays& a) {
         Array& logits = a.at("logits");
         const std::int64_t count = logits.shape[1];
         logits = slice_positions(logits.view(), 1, {kPrompt - 1, count - kPrompt + 1});
       },
       "the run goes on after the prompt", true, false},
      {"PaddedBehind", [](Arrays& a) { pad_positions(a, 0, 4); }, "padding after the prompt"},
      {"PaddedBothSides", [](Arrays& a) { pad_positions(a, 3, 2); }, "padding after the prompt"},
      {"KeysPadded",
       [](Arrays& a) {
         for (auto& [name, array] : a) {
           if (!is_attention(name)) continue;
           array = padded(array, 3, 0, 21, name.ends_with("probs") ? 0 : -INFINITY);
         }
       },
       "the first 11 of 32 keys"},
      {"LastLogitsOnly",
       [](Arrays& a) {
         Array& logits = a.at("logits");
         const std::size_t row = logits.bytes.size() / kPrompt;
         logits.bytes.erase(logits.bytes.begin(),
                            logits.bytes.end() - static_cast<std::ptrdiff_t>(row));
         logits.shape = {101};
       },
       "only the last position"},
      {"TwoNames",
       [](Arrays& a) {
         a["model.norm.output"] = a.at("final_norm_output");
         a["model.norm"] = a.at("final_norm_output");
         for (float& x : a.at("model.norm").as<float>()) x = x * x - 0.5F;
         a.erase("final_norm_output");
       },
       "both mean final_norm_output"},
      {"FusedSideBySide",
       [](Arrays& a) {
         for (const int layer : {0, 1}) {
           const std::vector<std::string> taps = taps_of(layer, {"q_proj", "k_proj", "v_proj"});
           const auto begin = [&a, taps](std::size_t part) {
             std::size_t first = 0;
             for (std::size_t p = 0; p < part; ++p) {
               first += static_cast<std::size_t>(a.at(taps[p]).shape.back());
             }
             return first;
           };
           const std::vector<std::size_t> first = {begin(0), begin(1), begin(2)};
           fuse(a, fmt::format("transformer.h.{}.attn.qkv", layer), taps,
                [&](std::size_t part, std::size_t i) { return first[part] + i; });
         }
       }},
      {"FusedHeadByHead",
       [](Arrays& a) {
         constexpr std::size_t kHead = 22;  // head_dim
         for (const int layer : {0, 1}) {
           const std::vector<std::string> taps = taps_of(layer, {"q_proj", "k_proj", "v_proj"});
           const auto wide = static_cast<std::size_t>(a.at(taps[0]).shape.back());
           const auto narrow = static_cast<std::size_t>(a.at(taps[1]).shape.back());
           const std::size_t queries = wide / narrow * kHead;
           fuse(a, fmt::format("transformer.h.{}.attn.qkv", layer), taps,
                [&](std::size_t part, std::size_t i) {
                  const std::size_t own = part == 0 ? queries : kHead;
                  const std::size_t at = part == 0 ? 0 : queries + (part - 1) * kHead;
                  return i / own * (queries + 2 * kHead) + at + i % own;
                });
         }
       }},
      {"FusedElementByElement",
       [](Arrays& a) {
         fuse(a, "transformer.h.1.mlp.fc1_fc2", taps_of(1, {"gate_proj", "up_proj"}),
              [](std::size_t part, std::size_t i) { return 2 * i + part; });
       }},
      {"FusedAndTheOtherWayRound",
       [](Arrays& a) {
         const std::vector<std::string> taps = taps_of(1, {"gate_proj", "up_proj"});
         const auto width = static_cast<std::size_t>(a.at(taps[0]).shape.back());
         fuse(a, "transformer.h.1.mlp.fc1_fc2", taps,
              [&](std::size_t part, std::size_t i) { return (1 - part) * width + i; });
         std::ranges::reverse(a.at("transformer.h.1.mlp.fc1_fc2").shape);
       }},
      {"WhatANameMeansShows",
       [](Arrays& a) {
         for (const int layer : {0, 1}) {
           a[fmt::format("out.{}", layer)] = a.at(fmt::format("layer_{:02}_attn_output", layer));
           a[fmt::format("x.{}", layer)] = a.at(fmt::format("layer_{:02}_mlp_norm", layer));
           a.erase(fmt::format("layer_{:02}_attn_output", layer));
           a.erase(fmt::format("layer_{:02}_mlp_norm", layer));
         }
         a["x.2"] = a.at("layer_00_input_norm");
         a.at("x.2").as<float>()[0] += 1000;
       },
       "", false, true,
       R"({"out.{layer}": ["layer_{layer}_mlp_output", "layer_{layer}_attn_output"],
           "x.2": ["logits", null], "x.{layer}": ["layer_{layer}_mlp_norm", null]})"},
      {"ExpertsInAnotherOrder",
       [](Arrays& a) {
         for (auto& [name, array] : a) {
           const std::optional<TapPlace> place = parse_tap_name(name);
           if (!place || place->layer == 1 || !has_expert_slots(place->tap, true)) continue;
           array = with_slots_turned(array);
         }
       }},
      {"LastPositionWithExpertsInAnotherOrder",
       [](Arrays& a) {
         constexpr Positions kLast{kPrompt - 1, 1};
         for (auto& [name, array] : a) {
           const std::optional<TapPlace> place = parse_tap_name(name);
           if (!place) continue;
           array = slice_positions(array.view(), position_axis(place->tap), kLast);
           if (place->layer == 0 && has_expert_slots(place->tap, true)) {
             array = with_slots_turned(array);
           }
         }
       },
       "only the last position"},
  };
  return all;
}

// A dump, and the reports on it.
class Dump : public testing::Test {
 protected:
  // Changes made in the wrong dump: an operation of layer 1, whose layer is dense, and everything
  // after it; otherwise the engine did not compute with it.
  static void spoil(Arrays& arrays) {
    const TapPlace first{Tap::kAttnContext, 1};
    for (auto& [name, array] : arrays) {
      const std::optional<TapPlace> place = parse_tap_name(name);
      if (!place || *place < first || array.dtype != DType::kF32) continue;
      float by = 1.03F;
      for (float& x : array.as<float>()) x *= (by = 2 - by);
    }
  }

  void write() {
    std::vector<ArrayView> views;
    for (auto& [name, array] : arrays_) {
      array.name = name;
      views.push_back(array.view());
    }
    write_npz(file(), views, Compression::kNone);
  }

  fs::path file() const { return directory_ / "p.npz"; }

  CompareReport compared() const {
    CompareOptions options;
    options.map = map_;
    options.reference = world().reference;
    options.candidate = file();
    return compare(options);
  }

  CompareReport checked() const {
    CheckerOptions options;
    options.map = map_;
    options.reference = world().reference;
    Checker checker(options);
    for (const Array* array : as_computed()) checker.check(array->view());
    return checker.report();
  }

  std::vector<const Array*> as_computed() const {
    std::vector<const Array*> order;
    for (const auto& [name, array] : arrays_) order.push_back(&array);
    std::ranges::stable_sort(order, {}, [](const Array* array) {
      const std::optional<TapPlace> place = parse_tap_name(array->name);
      if (array->name == "input_ids") return std::int64_t{-1};
      return place ? place->order() : TapPlace{Tap::kFinalNormOutput, -1}.order();
    });
    return order;
  }

  // From an engine that runs `step` positions at once.
  CompareReport checked_in_passes(std::int64_t step) const {
    CheckerOptions options;
    options.reference = world().reference;
    Checker checker(options);
    checker.check(arrays_.at("input_ids").view());
    const std::int64_t end = arrays_.at("logits").shape[1];
    for (std::int64_t first = 0; first < end; first += step) {
      const std::int64_t count = std::min(step, end - first);
      checker.set_positions(first, count);
      for (const Array* array : as_computed()) {
        const std::optional<TapPlace> place = parse_tap_name(array->name);
        if (!place) continue;
        const Array part =
            slice_positions(array->view(), position_axis(place->tap), {first, count});
        checker.check(part.view());
      }
    }
    return checker.report();
  }

  Diagnosis diagnosed(bool with_reference) const {
    DiagnoseOptions options;
    options.map = map_;
    options.model = world().model;
    options.candidate = file();
    if (with_reference) options.reference = world().reference;
    return diagnose(options);
  }

  static std::string failures(const CompareReport& report) {
    std::string text;
    for (const TensorResult& t : report.prompts.at(0).tensors) {
      const bool good = t.verdict == Verdict::kPass || t.verdict == Verdict::kNotCompared;
      if (!good) text += t.name + ": " + t.reason + " (" + t.reading + ")\n";
    }
    return text;
  }

  static std::string said(const PromptResult& prompt) {
    std::string text;
    for (const std::string& remark : prompt.remarks) text += remark + "\n";
    for (const TensorResult& t : prompt.tensors) text += t.reading + "\n";
    return text;
  }

  static std::string notes(const Diagnosis& d) {
    std::string text;
    for (const std::string& note : d.notes) text += note + "\n";
    return text;
  }

  TemporaryDirectory directory_;
  std::string map_;
  Arrays arrays_;
};

// The dump in one of the forms.
class OneWayIn : public Dump, public testing::WithParamInterface<std::size_t> {
 protected:
  const Form& form() const { return forms()[GetParam()]; }

  void make(bool wrong) {
    arrays_ = arrays_of(form().of_longer_run ? world().longer : world().reference);
    if (wrong) spoil(arrays_);
    form().make(arrays_);
    write();
    if (form().rules[0] != '\0') {
      map_ = directory_ / "rules.json";
      write_text(map_, form().rules);
    }
  }
};

}  // namespace assay

#include "assay/extract.h"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <nlohmann/json.hpp>

#include "assay/diagnose.h"
#include "assay/error.h"
#include "model/cached_models.h"
#include "python/bindings.h"
#include "python/run.h"
#include "reference/explain.h"
#include "report/diagnose_report.h"
#include "report/explain_text.h"
#include "report/json_text.h"

namespace assay::python {
namespace {

namespace nb = nanobind;
namespace fs = std::filesystem;

Compression compression_named(const std::string& name) {
  if (name == "none") return Compression::kNone;
  if (name == "fast") return Compression::kFast;
  if (name == "small") return Compression::kSmall;
  throw usage_error("compression", name, "none, fast or small");
}

DType store_named(const std::string& name) {
  if (name == "f32") return DType::kF32;
  if (name == "f64") return DType::kF64;
  throw usage_error("store", name, "f32 or f64");
}

Prompt prompt_of(std::string id, std::optional<std::string> text, std::vector<std::int64_t> ids,
                 const std::optional<std::string>& messages) {
  Prompt prompt{std::move(id), std::move(text), std::move(ids)};
  if (messages) prompt.conversation = parse_conversation(*messages, "prompt " + prompt.id);
  return prompt;
}

// Only the prompts that are conversations: render_chats would make one of every text.
void render_conversations(std::vector<Prompt>& prompts, const fs::path& model,
                          std::optional<bool> thinking) {
  std::vector<Prompt> chats;
  for (const Prompt& prompt : prompts) {
    if (prompt.conversation) chats.push_back(prompt);
  }
  if (chats.empty()) return;
  render_chats(chats, model, thinking);
  auto rendered = chats.begin();
  for (Prompt& prompt : prompts) {
    if (prompt.conversation) prompt = std::move(*rendered++);
  }
}

std::vector<std::string> extract_to(const fs::path& model, const fs::path& out,
                                    std::vector<Prompt> prompts, std::optional<bool> thinking,
                                    const std::vector<std::string>& numerics,
                                    std::vector<std::string> taps, std::int64_t max_new_tokens,
                                    const std::string& store, const std::string& compression,
                                    int threads, bool stream, bool blind_spots,
                                    nb::object on_progress) {
  std::vector<std::string> warnings;
  ExtractOptions options;
  options.model = model;
  options.out = out;
  options.numerics.clear();
  for (const std::string& name : numerics) options.numerics.push_back(parse_numerics(name));
  options.taps = std::move(taps);
  options.max_new_tokens = max_new_tokens;
  options.store = store_named(store);
  options.compression = compression_named(compression);
  options.threads = threads;
  options.stream = stream;
  options.on_warning = [&](const std::string& warning) { warnings.push_back(warning); };
  Run run(std::move(on_progress));
  const auto progress = [&](std::string_view what, double done) { run.progress(what, done); };
  run.result_of([&] {
    render_conversations(prompts, model, thinking);
    if (blind_spots) {
      options.blind_spots.emplace();
      for (const BlindSpot& spot : find_blind_spots(model, prompts, threads, progress)) {
        if (spot.is_blind()) options.blind_spots->push_back({spot.id, spot.name, spot.common});
      }
    }
    extract(options, prompts, progress);
  });
  return warnings;
}

std::string explain_as(const fs::path& model, std::optional<std::int64_t> layer,
                       const std::string& form) {
  const nlohmann::ordered_json explanation = explain(model, layer);
  if (form == "json") return json_text(explanation, 2);
  if (form == "markdown") return explain_markdown(explanation);
  return explain_text(explanation, false);
}

}  // namespace

void bind_extract(nb::module_& module) {
  nb::class_<Prompt>(module, "Prompt", "What a model is run on.")
      .def_ro("id", &Prompt::id)
      .def_ro("text", &Prompt::text)
      .def_ro("input_ids", &Prompt::input_ids);
  module.def("prompt", &prompt_of, nb::arg("id"), nb::arg("text").none(), nb::arg("ids"),
             nb::arg("messages").none(),
             "A prompt given as text, token ids or messages (JSON, to be rendered as a chat).");
  module.def("default_prompts", &default_prompts,
             "The three prompts of the classic reference set.");
  module.def("read_prompts", &read_prompts, nb::arg("file"), nb::arg("first_number") = 1,
             "The prompts of a file: one per line, or .jsonl.");
  module.def("extract", &extract_to, nb::arg("model"), nb::arg("out"), nb::arg("prompts"),
             nb::arg("thinking").none(), nb::arg("numerics"), nb::arg("taps"),
             nb::arg("max_new_tokens"), nb::arg("store"), nb::arg("compression"),
             nb::arg("threads"), nb::arg("stream"), nb::arg("blind_spots"),
             nb::arg("on_progress").none(), "Writes reference activations; returns warnings.");
  module.def("cached_model", &cached_model, nb::arg("name"),
             "The directory of a model in Hugging Face's cache; None: it has no such model.");
  module.def("explain", &explain_as, nb::arg("model"), nb::arg("layer").none(), nb::arg("form"),
             "The model's computation step by step, as \"text\", \"markdown\" or \"json\".");
}

}  // namespace assay::python

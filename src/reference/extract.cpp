#include "assay/extract.h"

#include <fmt/format.h>

#include <algorithm>
#include <future>
#include <nlohmann/json.hpp>
#include <set>

#include "assay/error.h"
#include "assay/tokenizer.h"
#include "base/mapped_file.h"
#include "base/sha256.h"
#include "base/thread_pool.h"
#include "formats/json_file.h"
#include "model/generate.h"
#include "numerics/rope_table.h"
#include "reference/manifest.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

// Recorded arrays that may wait in memory to be written together; more prompts decode faster
// together, since each step reads the weights once for all of them.
constexpr std::int64_t kGroupBytes = std::int64_t{256} << 20;
constexpr std::size_t kGroupPrompts = 16;

// What one numerics makes of one prompt.
struct Run {
  Generated generated;
  std::vector<Array> arrays;  // in file order
};

Array int64_array(std::string name, std::span<const std::int64_t> values) {
  Array array{std::move(name), DType::kI64, {1, static_cast<std::int64_t>(values.size())}, {}};
  array.bytes.resize(values.size_bytes());
  std::ranges::copy(values, array.as<std::int64_t>().begin());
  return array;
}

// [1, P, D], never rounded to BF16.
template <class Real>
Array rope_array(std::string name, const std::vector<Real>& table, std::size_t head_dim,
                 DType store) {
  Array array{
      std::move(name),
      store,
      {1, static_cast<std::int64_t>(table.size() / head_dim), static_cast<std::int64_t>(head_dim)},
      {}};
  array.bytes.resize(table.size() * dtype_size(store));
  const auto cast = [&]<class T>(std::span<T> to) {
    std::ranges::transform(table, to.begin(), [](Real x) { return static_cast<T>(x); });
  };
  if (store == DType::kF64) {
    cast(array.as<double>());
  } else {
    cast(array.as<float>());
  }
  return array;
}

std::vector<ArrayView> views(const std::vector<Array>& arrays) {
  std::vector<ArrayView> result;
  for (const Array& array : arrays) result.push_back(array.view());
  return result;
}

class Extraction {
 public:
  Extraction(const ExtractOptions& options, std::vector<Prompt> prompts,
             const OnProgress& on_progress)
      : options_(options),
        prompts_(std::move(prompts)),
        on_progress_(on_progress),
        model_(load_model(options.model, options.stream)),
        taps_(TapSet::classic(model_.spec)),
        pool_(options.threads) {
    for (const std::string& glob : options.taps) {
      if (taps_.add(glob) == 0) {
        throw usage_error("--taps", "'" + glob + "' matches no tap of this model",
                          "a glob over names such as layer_00_q_proj, layer_*_mlp_output");
      }
    }
    read_tokenizer();
    encode_prompts();
    create_out();
    manifest_.numerics = options.numerics;
    manifest_.model = fs::weakly_canonical(options.model);
    manifest_.max_new_tokens = options.max_new_tokens;
    manifest_.eos_token_ids = model_.eos_token_ids;
  }

  std::vector<ExtractedPrompt> run() {
    // Hashing reads the weights once, ahead of or beside the first pass that needs them anyway.
    std::future<void> hashes = std::async(std::launch::async, [this] { hash_files(); });
    count_steps();
    for (std::size_t begin = 0; begin < prompts_.size();) {
      const std::size_t end = group_end(begin);
      extract_group(group(begin, end));
      begin = end;
    }
    hashes.get();
    progress("writing manifest.json");
    write_json(options_.out / "manifest.json", to_json(manifest_));
    std::vector<ExtractedPrompt> extracted;
    for (const PromptRecord& record : manifest_.prompts) extracted.push_back(record.extracted);
    return extracted;
  }

 private:
  void read_tokenizer() {
    const fs::path file = options_.model / "tokenizer.json";
    const bool needed =
        std::ranges::any_of(prompts_, [](const Prompt& p) { return p.text.has_value(); });
    if (!needed && !is_there(file)) return;
    tokenizer_ = Tokenizer::load(file);
  }

  void encode_prompts() {
    if (prompts_.empty()) throw usage_error("prompts", "none given", "at least one");
    std::set<std::string> ids;
    for (Prompt& prompt : prompts_) {
      if (!ids.insert(prompt.id).second) {
        throw input_error("prompts", "id '" + prompt.id + "' a second time", "unique ids");
      }
      if (prompt.text) {
        if (prompt.text->empty()) {
          throw input_error(prompt.id, "empty prompt", "at least one character");
        }
        prompt.input_ids = tokenizer_->encode(*prompt.text, prompt.id);
      }
      check_token_ids(prompt.input_ids, model_.spec, prompt.id);
    }
  }

  void create_out() {
    std::error_code error;
    fs::create_directories(options_.out, error);
    if (error) throw system_error(options_.out.string(), "cannot create directory", error.value());
    // Without a manifest the directory is known to be unfinished.
    fs::remove(options_.out / "manifest.json", error);
    if (error) {
      throw system_error((options_.out / "manifest.json").string(), "cannot remove", error.value());
    }
  }

  void hash_files() {
    const auto record = [this](const fs::path& file) {
      return FileRecord{file.filename().string(), fs::file_size(file),
                        sha256_file(file, model_.stream != nullptr)};
    };
    for (const fs::path& file : model_.files.files()) manifest_.weights.push_back(record(file));
    if (tokenizer_) manifest_.tokenizer = record(options_.model / "tokenizer.json");
  }

  // Bytes that the recorded arrays of a prompt take.
  std::int64_t recorded_bytes(const Prompt& prompt) const {
    const ModelSpec& spec = model_.spec;
    std::int64_t count = 0;
    for (std::int64_t layer = 0; layer < spec.num_hidden_layers; ++layer) {
      for (int t = 0; t < kTapCount; ++t) {
        const Tap tap = static_cast<Tap>(t);
        if (!is_layer_tap(tap) && layer != 0) continue;
        if (!taps_.wants(tap, layer)) continue;
        const Shape shape =
            tap_shape(tap, spec, static_cast<std::int64_t>(prompt.input_ids.size()));
        count += element_count(shape, "tap");
      }
    }
    return count * static_cast<std::int64_t>(dtype_size(options_.store) * options_.numerics.size());
  }

  std::size_t group_end(std::size_t begin) const {
    std::int64_t bytes = recorded_bytes(prompts_[begin]);
    std::size_t end = begin + 1;
    while (end < prompts_.size() && end - begin < kGroupPrompts) {
      bytes += recorded_bytes(prompts_[end]);
      if (bytes > kGroupBytes) break;
      ++end;
    }
    return end;
  }

  // A step is one layer of one run of the model: prompts that are prefilled together, or a token
  // for a whole group.
  double steps_of_group(std::span<const Prompt> group) const {
    std::int64_t runs = std::max<std::int64_t>(options_.max_new_tokens - 1, 0);
    for (std::size_t begin = 0; begin < group.size(); ++runs) {
      begin = prefill_end(begin, group.size(),
                          [&](std::size_t p) { return group[p].input_ids.size(); });
    }
    return static_cast<double>(runs * model_.spec.num_hidden_layers);
  }

  std::span<const Prompt> group(std::size_t begin, std::size_t end) const {
    return std::span(prompts_).subspan(begin, end - begin);
  }

  void count_steps() {
    total_steps_ = 0;
    for (std::size_t begin = 0; begin < prompts_.size(); begin = group_end(begin)) {
      total_steps_ += steps_of_group(group(begin, group_end(begin))) *
                      static_cast<double>(options_.numerics.size());
    }
  }

  void extract_group(std::span<const Prompt> group) {
    std::vector<std::vector<Run>> runs;  // [numerics][prompt]
    for (const Numerics numerics : options_.numerics) {
      switch (numerics) {
        case Numerics::kBf16:
          runs.push_back(run_group(bf16_, group, kernels<Bf16>(chosen_simd()), numerics));
          break;
        case Numerics::kF32:
          runs.push_back(run_group(f32_, group, kernels<F32>(chosen_simd()), numerics));
          break;
        case Numerics::kF64:
          runs.push_back(run_group(f64_, group, kernels<F64>(chosen_simd()), numerics));
          break;
        case Numerics::kFast:
          runs.push_back(run_group(fast_, group, fast_kernels(), numerics));
          break;
      }
    }
    for (std::size_t p = 0; p < group.size(); ++p) write_prompt(group[p], runs, p);
  }

  template <class N>
  std::vector<Run> run_group(std::optional<ForwardPass<N>>& forward, std::span<const Prompt> group,
                             const Kernels<N>& kernels, Numerics numerics) {
    if (!forward) {
      forward.emplace(model_, pool_, kernels);
      forward->on_layer([this, numerics] {
        done_steps_ += 1;
        progress(fmt::format("{} run", numerics_name(numerics)));
      });
    }
    std::vector<Recorder> recorders;
    std::vector<GenerateRequest> requests;
    recorders.reserve(group.size());
    for (const Prompt& prompt : group) {
      recorders.emplace_back(model_.spec, taps_, static_cast<std::int64_t>(prompt.input_ids.size()),
                             options_.store);
      requests.push_back({prompt.input_ids, &recorders.back()});
    }
    const double before = done_steps_;
    std::vector<Generated> generated = generate_greedy<N>(
        *forward, model_.spec, requests, options_.max_new_tokens, model_.eos_token_ids);
    done_steps_ = before + steps_of_group(group);  // it may have stopped at an EOS id

    std::vector<Run> runs;
    for (std::size_t p = 0; p < group.size(); ++p) {
      Run run{std::move(generated[p]), {}};
      run.arrays.push_back(int64_array("input_ids", group[p].input_ids));
      std::ranges::move(recorders[p].take(), std::back_inserter(run.arrays));
      run.arrays.push_back(int64_array("generated_ids", run.generated.ids));
      add_rope_tables<typename N::Real>(group[p], run);
      runs.push_back(std::move(run));
    }
    return runs;
  }

  // For every position that was fed to the model: the last generated token was not.
  template <class Real>
  void add_rope_tables(const Prompt& prompt, Run& run) {
    const std::size_t positions = std::max(prompt.input_ids.size(), run.generated.ids.size() - 1);
    const auto head_dim = static_cast<std::size_t>(model_.spec.head_dim);
    const auto table = make_rope_table<Real>(model_.spec.rope_theta, head_dim, positions);
    run.arrays.push_back(rope_array("rope_cos", table.cos, head_dim, options_.store));
    run.arrays.push_back(rope_array("rope_sin", table.sin, head_dim, options_.store));
  }

  void write_prompt(const Prompt& prompt, const std::vector<std::vector<Run>>& runs,
                    std::size_t p) {
    const Run& reference = runs.front()[p];
    PromptRecord record;
    record.extracted.prompt = prompt;
    record.extracted.generated_ids = reference.generated.ids;
    record.extracted.stopped_by_eos = reference.generated.stopped_by_eos;
    if (tokenizer_) {
      record.extracted.generated_text =
          tokenizer_->decode(std::span(reference.generated.ids).subspan(prompt.input_ids.size()));
    }

    std::error_code error;
    fs::create_directory(options_.out / prompt.id, error);
    if (error) {
      throw system_error((options_.out / prompt.id).string(), "cannot create directory",
                         error.value());
    }
    const std::vector<Array>* oracle = nullptr;
    for (std::size_t n = 0; n < runs.size(); ++n) {
      const Numerics numerics = options_.numerics[n];
      std::string role = "reference";
      if (n > 0) role = numerics == Numerics::kF64 ? "oracle" : numerics_name(numerics);
      if (role == "oracle") oracle = &runs[n][p].arrays;
      const std::string path = prompt.id + "/" + role + ".npz";
      progress("writing " + path);
      write_npz(options_.out / path, views(runs[n][p].arrays), options_.compression, pool_.size());
      record.extracted.files.push_back(
          {role, path, fs::file_size(options_.out / path), runs[n][p].arrays.size()});
    }

    record.arrays.resize(reference.arrays.size());
    pool_.for_each_item(reference.arrays.size(), [&](std::size_t i) {
      record.arrays[i] = describe(reference.arrays[i], oracle);
    });
    manifest_.prompts.push_back(std::move(record));
  }

  static ArrayRecord describe(const Array& array, const std::vector<Array>* oracle) {
    ArrayRecord record{array.name, array.dtype, array.shape, sha256_hex(array.bytes), {}, {}};
    if (array.dtype == DType::kI64) return record;
    record.stats = statistics(array.view());
    if (oracle == nullptr) return record;
    const auto same = std::ranges::find(*oracle, array.name, &Array::name);
    // The RoPE tables are as long as the generated text, which may stop earlier in one of the runs.
    const std::size_t bytes = std::min(array.bytes.size(), same->bytes.size());
    record.noise = relative_l2(array.view(), same->view(), bytes / dtype_size(array.dtype));
    return record;
  }

  void progress(std::string_view what) const {
    if (on_progress_) on_progress_(what, std::min(1.0, done_steps_ / total_steps_));
  }

  const ExtractOptions& options_;
  std::vector<Prompt> prompts_;
  const OnProgress& on_progress_;
  Model model_;
  TapSet taps_;
  ThreadPool pool_;
  std::optional<Tokenizer> tokenizer_;
  std::optional<ForwardPass<Bf16>> bf16_, fast_;
  std::optional<ForwardPass<F32>> f32_;
  std::optional<ForwardPass<F64>> f64_;
  Manifest manifest_;
  double done_steps_ = 0;
  double total_steps_ = 1;
};

}  // namespace

std::string_view numerics_name(Numerics numerics) {
  switch (numerics) {
    case Numerics::kBf16:
      return Bf16::kName;
    case Numerics::kF32:
      return F32::kName;
    case Numerics::kF64:
      return F64::kName;
    case Numerics::kFast:
      return "fast";
  }
  return "?";
}

Numerics parse_numerics(std::string_view name) {
  for (const Numerics numerics :
       {Numerics::kBf16, Numerics::kF32, Numerics::kF64, Numerics::kFast}) {
    if (numerics_name(numerics) == name) return numerics;
  }
  throw usage_error("--numerics", "'" + std::string(name) + "'", "bf16, f32, f64 or fast");
}

std::vector<ExtractedPrompt> extract(const ExtractOptions& options, std::vector<Prompt> prompts,
                                     const OnProgress& on_progress) {
  return Extraction(options, std::move(prompts), on_progress).run();
}

}  // namespace assay

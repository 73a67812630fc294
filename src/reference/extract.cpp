#include "assay/extract.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "assay/error.h"
#include "base/background.h"
#include "base/float_mode.h"
#include "base/hash_memory.h"
#include "base/output_set.h"
#include "base/sha256.h"
#include "base/thread_pool.h"
#include "formats/json_file.h"
#include "model/checkpoint.h"
#include "model/finite.h"
#include "model/generate.h"
#include "model/recorder.h"
#include "model/watched_files.h"
#include "models/tap_suggestion.h"
#include "reference/manifest.h"
#include "reference/prompt_file.h"
#include "reference/rope_arrays.h"
#include "tokenizer/tokenizer.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

// Prompts decode faster together, since each step reads the weights once for all of them.
constexpr std::size_t kGroupPrompts = 16;
// Recorded arrays that may wait in memory to be written.
constexpr std::size_t kWaitingBytes = std::size_t{256} << 20;

// The run of one prompt with one numerics.
struct Run {
  std::string role;
  std::string path;  // of the file, relative to the output directory
  std::unique_ptr<PromptFile> file;
  Generated generated;
};

Array int64_array(std::string name, std::span<const std::int64_t> values) {
  Array array{std::move(name), DType::kI64, {1, static_cast<std::int64_t>(values.size())}, {}};
  array.bytes.resize(values.size_bytes());
  std::ranges::copy(values, array.as<std::int64_t>().begin());
  return array;
}

void describe(const ArrayView& array, ArrayRecord& record) {
  record.sha256 = sha256_hex(array.bytes);
  if (array.dtype != DType::kI64) record.stats = statistics(array);
}

class Extraction {
 public:
  Extraction(const ExtractOptions& options, std::vector<Prompt> prompts,
             const OnProgress& on_progress)
      : options_(options),
        prompts_(std::move(prompts)),
        on_progress_(on_progress),
        files_(options.model),
        model_(load_model(options.model, options.stream,
                          [this](double done) {
                            if (on_progress_) on_progress_("dequantising the weights", done);
                          })),
        taps_(TapSet::classic(model_.spec)),
        pool_(options.threads),
        background_(pool_, kWaitingBytes) {
    if (options.store != DType::kF32 && options.store != DType::kF64) {
      throw usage_error("store", dtype_name(options.store), "F32 or F64");
    }
    if (options.numerics.empty()) throw usage_error("--numerics", "none", "at least one");
    for (auto own = options.numerics.begin(); own != options.numerics.end(); ++own) {
      if (std::find(options.numerics.begin(), own, *own) == own) continue;
      throw usage_error("--numerics", fmt::format("'{}' given twice", numerics_name(*own)),
                        "each at most once");
    }
    if (options.max_new_tokens < 0) {
      throw usage_error("--max-new-tokens", std::to_string(options.max_new_tokens), "at least 0");
    }
    for (const std::string& glob : options.taps) {
      if (taps_.add(glob) == 0) {
        throw usage_error("--taps", "'" + glob + "' matches no tap of this model",
                          "a glob over the names that 'assay extract --list' shows" +
                              tap_suggestion(glob, model_.spec));
      }
    }
    background_.on_wait([this](std::size_t bytes) {
      progress(bytes > 0 ? fmt::format("writing ({} MB to go)", bytes / 1000000)
                         : std::string("hashing the weights"));
    });
    read_tokenizer();
    encode_prompts();
    out_.emplace(options_.out, "manifest.json");
    // Hashing keeps one thread busy for as long as the model needs for a dozen tokens. It begins
    // first, but not before other errors are found, because the program waits for its end.
    background_.add(0, [this] { hash_checkpoint(); });
    // A streamed checkpoint is not read once more for this, because its arrays show NaN too.
    if (!model_.stream) background_.add(0, [this] { not_finite_ = find_not_finite(model_.files); });
    manifest_.numerics = options.numerics;
    manifest_.model = fs::weakly_canonical(options.model);
    manifest_.max_new_tokens = options.max_new_tokens;
    manifest_.blind_spots = options.blind_spots;
    manifest_.eos_token_ids = model_.eos_token_ids;
  }

  std::vector<ExtractedPrompt> run() {
    try {
      return extract_all();
    } catch (const Error& error) {
      throw out_->as_of_final_path(error);
    }
  }

 private:
  std::vector<ExtractedPrompt> extract_all() {
    count_steps();
    for (std::size_t begin = 0; begin < prompts_.size(); begin = group_end(begin)) {
      extract_group(group(begin, group_end(begin)));
    }
    progress("writing manifest.json");
    background_.finish();
    warn_of_weights();
    if (tokenizer_ && !manifest_.tokenizer) manifest_.tokenizer = manifest_.weights.front();
    expect_unchanged_files();
    write_json(out_->staging() / "manifest.json", to_json(manifest_));
    out_->publish(superseded_oracles());
    std::vector<ExtractedPrompt> extracted;
    for (const PromptRecord& record : manifest_.prompts) extracted.push_back(record.extracted);
    return extracted;
  }

  // An earlier run's oracle next to a new reference would be mistaken for the new one's.
  std::vector<std::string> superseded_oracles() const {
    std::vector<std::string> files;
    for (const Prompt& prompt : prompts_) {
      std::string file = fmt::format("{}/oracle.npz", prompt.id);
      if (!fs::exists(out_->staging() / file)) files.push_back(std::move(file));
    }
    return files;
  }

  void read_tokenizer() {
    const fs::path file = tokenizer_file(options_.model);
    const bool needed =
        std::ranges::any_of(prompts_, [](const Prompt& p) { return p.text.has_value(); });
    if (!needed && !has_tokenizer(options_.model)) return;
    try {
      tokenizer_ = load_tokenizer(options_.model);
    } catch (const Error& error) {
      if (needed || error.kind() != ErrorKind::kInput) throw;
      warn(fmt::format("the tokenizer cannot be read, so there are no texts: {}", error.what()));
      return;
    }
    if (file.extension() == ".gguf") return;  // its first file of weights
    background_.add(
        0, [this, file] { manifest_.tokenizer = record_file(file, file.filename().string()); });
  }

  void warn(std::string warning) {
    if (options_.on_warning) options_.on_warning(warning);
    manifest_.warnings.push_back(std::move(warning));
  }

  void warn_of_weights() {
    for (const std::string& found : not_finite_) {
      warn(fmt::format("{}: everything computed with this weight is meaningless", found));
    }
    for (const PromptRecord& prompt : manifest_.prompts) {
      const auto bad = std::ranges::find_if(prompt.arrays, [](const ArrayRecord& array) {
        return array.stats && array.stats->nan > 0;
      });
      if (bad == prompt.arrays.end() || !not_finite_.empty()) continue;
      warn(
          fmt::format("{}: {} of the elements of {} are NaN: everything computed from them is "
                      "meaningless (assay doctor tells whether a weight is the cause; otherwise "
                      "check config.json)",
                      prompt.extracted.prompt.id, bad->stats->nan, bad->name));
    }
  }

  void encode_prompts() {
    if (prompts_.empty()) throw usage_error("prompts", "none given", "at least one");
    std::set<std::string> ids;
    for (Prompt& prompt : prompts_) {
      if (!ids.insert(prompt.id).second) {
        throw input_error("prompts", "duplicate id '" + prompt.id + "'", "unique ids");
      }
      if (prompt.conversation) {
        throw input_error(prompt.conversation->where, "a conversation",
                          "--chat, which makes a text of it");
      }
      // Text and ids: a chat template made one and the tokenizer the other.
      is_chat_ = is_chat_ || (prompt.text && !prompt.input_ids.empty());
      if (prompt.text && prompt.input_ids.empty()) {
        if (prompt.text->empty()) {
          throw input_error(prompt.id, "empty prompt", "at least one character");
        }
        prompt.input_ids = tokenizer_->encode(*prompt.text, prompt.id, true);
      }
      check_token_ids(prompt.input_ids, model_.spec, prompt.id);
    }
  }

  // Hashed through the mapping if the model reads the weights there too. A streamed checkpoint must
  // not become resident.
  void hash_checkpoint() {
    for (std::size_t i = 0; i < model_.files.files().size(); ++i) {
      const fs::path& file = model_.files.files()[i];
      const std::span<const std::byte> bytes = model_.files.mapped(i);
      const auto hash = [&] { return model_.stream ? sha256_file(file, true) : sha256_hex(bytes); };
      manifest_.weights.push_back(
          {file.filename().string(), bytes.size(), HashMemory::of_user().sha256(file, hash)});
    }
    for (const std::string& name : settings_files(options_.model, is_chat_)) {
      manifest_.files.push_back(record_file(options_.model / name, name));
    }
  }

  // The manifest records the files that the arrays were made from, so they may not change
  // meanwhile.
  void expect_unchanged_files() const {
    for (const fs::path& file : model_.files.files()) files_.expect_unchanged(file);
    for (const FileRecord& record : manifest_.files) {
      files_.expect_unchanged(options_.model / record.file);
    }
  }

  std::size_t group_end(std::size_t begin) const {
    return std::min(begin + kGroupPrompts, prompts_.size());
  }

  // A step is one layer of one run of the model: prompts that are prefilled together, or a token
  // for a whole group.
  double steps_of_group(std::span<const Prompt> group) const {
    const std::int64_t decoded = std::max<std::int64_t>(options_.max_new_tokens - 1, 0);
    return prefill_steps(group) + static_cast<double>(decoded * model_.spec.num_hidden_layers);
  }

  double prefill_steps(std::span<const Prompt> group) const {
    std::int64_t runs = 0;
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
      if (has_f32_noise()) total_steps_ += prefill_steps(group(begin, group_end(begin)));
    }
  }

  void extract_group(std::span<const Prompt> group) {
    for (const Numerics numerics : options_.numerics) {
      // An oracle is compared with the values in the reference's file.
      const bool oracle = !runs_.empty() && numerics == Numerics::kF64;
      if (oracle) background_.finish();
      std::vector<Run>& of_prompts = runs_.emplace_back();
      for (const Prompt& prompt : group) {
        of_prompts.push_back(open(prompt, runs_.size() == 1 ? "reference"
                                          : oracle          ? "oracle"
                                                            : numerics_name(numerics)));
      }
      with_numerics(numerics, [&]<class N>(N) { run_group<N>(group, of_prompts); });
    }
    background_.finish();
    if (has_f32_noise()) measure_f32_noise(group);
    for (std::size_t p = 0; p < group.size(); ++p) record_prompt(group[p], p);
    runs_.clear();
    f32_noise_.clear();
  }

  // With an oracle, the manifest also records the error of an FP32 engine, which is far smaller
  // than the reference's. If the reference is FP32 itself, its own noise is enough.
  bool has_f32_noise() const {
    const auto& all = options_.numerics;
    return all.front() != Numerics::kF32 &&
           std::find(all.begin() + 1, all.end(), Numerics::kF64) != all.end();
  }

  // An f32 run over the prompts only. None of its arrays is written.
  void measure_f32_noise(std::span<const Prompt> group) {
    f32_noise_.resize(group.size());
    std::vector<Recorder<float>> recorders;
    std::vector<GenerateRequest<F32>> requests;
    recorders.reserve(group.size());
    for (std::size_t p = 0; p < group.size(); ++p) {
      const auto oracle =
          std::make_shared<const NpzReader>(out_->staging() / group[p].id / "oracle.npz");
      std::map<std::string, ArrayNoise>& noise = f32_noise_[p];
      const auto measure = [this, &noise, oracle](Array array) {
        if (array.dtype == DType::kI64) return;
        ArrayNoise& own = noise[array.name];
        const std::size_t axis = position_axis(parse_tap_name(array.name)->tap);
        const std::size_t bytes = array.bytes.size();
        auto owner = std::make_shared<const Array>(std::move(array));
        background_.add(2 * bytes, [&own, oracle, owner, axis] {
          own = array_noise(owner->view(), oracle->read(owner->name).view(), axis);
        });
      };
      recorders.emplace_back(model_.spec, taps_, std::ssize(group[p].input_ids), options_.store,
                             measure);
      requests.push_back({group[p].input_ids, &recorders.back()});
    }
    Executor<F32>& executor = executor_of<F32>("f32 run for its noise");
    const double before = done_steps_;
    generate_greedy<F32>(executor, model_, requests, 0, {});
    done_steps_ = before + prefill_steps(group);
    background_.finish();
  }

  Run open(const Prompt& prompt, std::string_view role) {
    out_->create_directory(prompt.id);
    Run run{std::string(role), fmt::format("{}/{}.npz", prompt.id, role), nullptr, {}};
    PromptFile::Measure measure;
    if (role == "reference") {
      measure = describe;
    } else if (role == "oracle") {
      measure = [reference =
                     std::make_shared<NpzReader>(out_->staging() / prompt.id / "reference.npz")](
                    const ArrayView& array, ArrayRecord& record) {
        if (array.dtype == DType::kI64) return;
        const Array other = reference->read(array.name);
        // The RoPE tables are as long as the generated text, which may stop earlier in one of the
        // runs.
        const std::size_t bytes = std::min(array.bytes.size(), other.bytes.size());
        record.noise = relative_l2(other.view(), array, bytes / dtype_size(array.dtype));
      };
    }
    run.file = std::make_unique<PromptFile>(background_, out_->staging() / run.path,
                                            options_.compression, std::move(measure));
    return run;
  }

  template <class N>
  Executor<N>& executor_of(std::string what) {
    auto& executor = std::get<std::optional<Executor<N>>>(executors_);
    if (!executor) executor.emplace(model_, pool_, kernels<N>(chosen_simd()));
    executor->on_layer([this, what = std::move(what)] {
      done_steps_ += 1;
      progress(what);
    });
    return *executor;
  }

  template <class N>
  void run_group(std::span<const Prompt> group, std::vector<Run>& runs) {
    Executor<N>& executor = executor_of<N>(fmt::format("{} run", numerics_name(N::kNumerics)));
    std::vector<Recorder<typename N::Real>> recorders;
    std::vector<GenerateRequest<N>> requests;
    recorders.reserve(group.size());
    for (std::size_t p = 0; p < group.size(); ++p) {
      PromptFile& file = *runs[p].file;
      file.add(int64_array("input_ids", group[p].input_ids));
      recorders.emplace_back(model_.spec, taps_, std::ssize(group[p].input_ids), options_.store,
                             [&file](Array array) { file.add(std::move(array)); });
      requests.push_back({group[p].input_ids, &recorders.back()});
    }
    const double before = done_steps_;
    std::vector<Generated> generated = generate_greedy<N>(
        executor, model_, requests, options_.max_new_tokens, model_.eos_token_ids);
    done_steps_ = before + steps_of_group(group);  // it may have stopped at an EOS id

    for (std::size_t p = 0; p < group.size(); ++p) {
      runs[p].generated = std::move(generated[p]);
      runs[p].file->add(int64_array("generated_ids", runs[p].generated.ids));
      // For every position that was fed to the model: the last generated token was not.
      const std::size_t prompt = group[p].input_ids.size();
      const std::size_t positions = std::max(prompt, runs[p].generated.ids.size() - 1);
      for (Array& table :
           rope_arrays<typename N::Real>(model_.spec, prompt, positions, options_.store)) {
        runs[p].file->add(std::move(table));
      }
      runs[p].file->close();
    }
  }

  void record_prompt(const Prompt& prompt, std::size_t p) {
    const Run& reference = runs_.front()[p];
    PromptRecord record;
    record.extracted.prompt = prompt;
    record.extracted.generated_ids = reference.generated.ids;
    record.extracted.stopped_by_eos = reference.generated.stopped_by_eos;
    if (tokenizer_) {
      record.tokens.emplace();
      for (const std::int64_t id : prompt.input_ids) {
        record.tokens->push_back(tokenizer_->decode({&id, 1}));
      }
      record.extracted.generated_text =
          tokenizer_->decode(std::span(reference.generated.ids).subspan(prompt.input_ids.size()));
    }
    record.arrays.assign(reference.file->records().begin(), reference.file->records().end());
    for (const std::vector<Run>& of_prompts : runs_) {
      const Run& run = of_prompts[p];
      record.extracted.files.push_back({run.role, run.path,
                                        fs::file_size(out_->staging() / run.path),
                                        run.file->records().size()});
      if (run.role != "oracle") continue;
      for (std::size_t i = 0; i < record.arrays.size(); ++i) {
        record.arrays[i].noise = run.file->records()[i].noise;
      }
    }
    if (has_f32_noise()) {
      for (ArrayRecord& array : record.arrays) {
        const auto noise = f32_noise_[p].find(array.name);
        if (noise != f32_noise_[p].end()) array.noise_f32 = std::move(noise->second);
      }
    }
    manifest_.prompts.push_back(std::move(record));
  }

  void progress(std::string_view what) const {
    if (on_progress_) on_progress_(what, std::min(1.0, done_steps_ / total_steps_));
  }

  const ExtractOptions& options_;
  std::vector<Prompt> prompts_;
  const OnProgress& on_progress_;
  WatchedFiles files_;
  Model model_;
  TapSet taps_;
  ThreadPool pool_;
  std::optional<Tokenizer> tokenizer_;
  std::tuple<std::optional<Executor<Bf16>>, std::optional<Executor<F32>>,
             std::optional<Executor<F64>>>
      executors_;  // those in use
  std::optional<OutputSet> out_;
  bool is_chat_ = false;
  Manifest manifest_;
  std::vector<std::string> not_finite_;  // weights
  double done_steps_ = 0;
  double total_steps_ = 1;
  std::vector<std::vector<Run>> runs_;  // of the group at hand: [numerics][prompt]
  // The f32 noise of each prompt of the group, by the array's name.
  std::vector<std::map<std::string, ArrayNoise>> f32_noise_;
  Background background_;  // the last member, because its jobs use the others
};

}  // namespace

std::vector<ExtractedPrompt> extract(const ExtractOptions& options, std::vector<Prompt> prompts,
                                     const OnProgress& on_progress) {
  const DefaultFloatMode mode;
  return Extraction(options, std::move(prompts), on_progress).run();
}

}  // namespace assay

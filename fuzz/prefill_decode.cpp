// Tokens run at once, in pieces, and beside another sequence: the same bits of every tap.
#include <cmath>

#include "model/executor.h"
#include "model/families.h"
#include "model/recorder.h"
#include "small_model.h"

namespace assay {
namespace {

struct Small {
  std::string name;
  Model model;
};

std::vector<Small> make_models() {
  std::vector<Small> models;
  for (const auto& [name, config] : family_configs()) {
    nlohmann::json small = config;
    small["hidden_size"] = 20;
    small["num_attention_heads"] = 2;
    small["num_key_value_heads"] = 1;
    const bool partly = small["model_type"] == "glm4_moe" || small["model_type"] == "minimax_m2";
    const bool linear = small.contains("linear_num_key_heads");  // rotates a quarter of a head
    small["head_dim"] = small["model_type"] == "phi3" || linear ? 16 : partly ? 12 : 10;
    if (small["model_type"] == "phi3") small["hidden_size"] = 32;
    small["vocab_size"] = 31;
    small["intermediate_size"] = 13;
    small["eos_token_id"] = 30;
    models.push_back({name, load_model(make_checkpoint(std::to_string(models.size()), small))});
  }
  return models;
}

template <class N>
std::vector<Array> run(const Model& model, std::span<const std::int64_t> ids,
                       std::span<const std::size_t> pieces, std::span<const std::int64_t> beside) {
  static ThreadPool pool(1);
  TapSet taps(model.spec);
  taps.add("*");
  Recorder<typename N::Real> recorder(model.spec, taps, std::ssize(ids));
  Executor<N> executor(model, pool);
  SequenceState<N> sequence(model.program, ids.size());
  SequenceState<N> other(model.program, std::max<std::size_t>(beside.size(), 1));
  std::size_t done = 0;
  for (const std::size_t piece : pieces) {
    std::vector<Chunk<N>> chunks = {{ids.subspan(done, piece), &sequence, &recorder}};
    if (!beside.empty() && done == 0) chunks.insert(chunks.begin(), {beside, &other});
    executor.run(chunks);
    done += piece;
  }
  return recorder.take();
}

template <class N>
void compare(const Small& small, std::span<const std::int64_t> ids,
             std::span<const std::size_t> pieces, std::span<const std::int64_t> beside) {
  const std::size_t whole = ids.size();
  const std::vector<Array> expected = run<N>(small.model, ids, {&whole, 1}, {});
  const std::vector<Array> found = run<N>(small.model, ids, pieces, beside);
  require(expected.size() == found.size(), "as many taps");
  for (std::size_t a = 0; a < found.size(); ++a) {
    if (expected[a].bytes == found[a].bytes) continue;
    std::fprintf(stderr, "%s, %s\n", small.name.c_str(), found[a].name.c_str());
    require(false, "pieces give what the whole gives");
  }
}

}  // namespace

FUZZ_TARGET(prefill_decode) {
  static const std::vector<Small> models = make_models();
  Choices choices(input);
  const Small& small = choices.one_of(models);
  const std::size_t numerics = choices.below(3);
  const std::size_t tokens = 1 + choices.below(30);
  const std::size_t others = choices.below(4);
  std::vector<std::int64_t> ids(tokens);
  std::vector<std::int64_t> beside(others);
  for (std::int64_t& id : beside) id = static_cast<std::int64_t>(choices.below(31));
  std::vector<std::size_t> pieces;
  const bool one_by_one = choices.flag();
  for (std::size_t left = tokens; left > 0; left -= pieces.back()) {
    pieces.push_back(one_by_one ? 1 : 1 + choices.below(left));
  }
  for (std::int64_t& id : ids) id = static_cast<std::int64_t>(choices.below(31));
  if (numerics == 0) compare<Bf16>(small, ids, pieces, beside);
  if (numerics == 1) compare<F32>(small, ids, pieces, beside);
  if (numerics == 2) compare<F64>(small, ids, pieces, beside);
}

}  // namespace assay

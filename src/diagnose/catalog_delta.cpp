// Mistakes in layers with a gated delta rule, and in the gate of the other layers' attention.
#include <fmt/format.h>

#include <utility>

#include "diagnose/catalog_list.h"
#include "rewrite/delta_net.h"

namespace assay {
namespace {

// Changes each operation of that kind; no variant in a model that has none.
template <class Odd, class Change>
auto in_delta(Change change) {
  return [change](const Circumstances& at) {
    if (at.spec.linear_layers.empty()) return std::vector<Variant>{};
    return only([change](Hypothesis& h) { change_layers<Odd>(h.program, change); });
  };
}

// Changes each step of that kind.
template <class Op, class Change>
auto each_step(Change change) {
  return always([change](Hypothesis& h) {
    for (Block& layer : h.program.layers) {
      for (std::size_t s = 0; s < layer.steps.size(); ++s) {
        if (std::holds_alternative<Op>(layer.steps[s].operation)) change(layer, s);
      }
    }
  });
}

template <class Change>
auto with_gated_attention(Change change) {
  return [change](const Circumstances& at) {
    if (!at.spec.attention.gated) return std::vector<Variant>{};
    return only([change](Hypothesis& h) {
      for (Block& layer : h.program.layers) {
        if (layer.find(Tap::kAttnGated)) change(layer);
      }
    });
  };
}

// How the output of q_proj is taken apart.
template <class Change>
auto with_query_and_gate(Change change) {
  return with_gated_attention([change](Block& layer) {
    for (Step& step : layer.steps) {
      if (auto* unpack = std::get_if<Unpack>(&step.operation)) change(*unpack);
    }
  });
}

std::vector<Variant> not_unit(const Circumstances& at) {
  if (at.spec.linear_layers.empty()) return {};
  const auto variant = [](std::string detail, bool queries, bool keys) {
    return Variant{std::move(detail), [queries, keys](Hypothesis& h) {
                     change_layers<OddDeltaRule>(h.program, [=](OddDeltaRule& odd) {
                       odd.unit_queries = !queries;
                       odd.unit_keys = !keys;
                     });
                   }};
  };
  return {variant("queries and keys", true, true), variant("queries", true, false),
          variant("keys", false, true)};
}

std::vector<Variant> query_scales(const Circumstances& at) {
  if (at.spec.linear_layers.empty()) return {};
  const auto variant = [](std::string detail, bool twice) {
    return Variant{std::move(detail), [twice](Hypothesis& h) {
                     change_layers<OddDeltaRule>(h.program, [twice](OddDeltaRule& odd) {
                       odd.rule.scale = twice ? odd.rule.scale * odd.rule.scale : 1;
                     });
                   }};
  };
  return {variant("left out", false), variant("applied twice", true)};
}

std::vector<Variant> norm_gates(const Circumstances& at) {
  if (at.spec.linear_layers.empty()) return {};
  const auto by = [](std::string detail, OddGatedNorm::By gate, bool first) {
    return Variant{std::move(detail), [gate, first](Hypothesis& h) {
                     change_layers<OddGatedNorm>(h.program, [=](OddGatedNorm& odd) {
                       odd.by = gate;
                       odd.gate_first = first;
                     });
                   }};
  };
  using By = OddGatedNorm::By;
  return {by("left out", By::kNothing, false), by("sigmoid, not silu", By::kSigmoid, false),
          by("before the norm", By::kSilu, true)};
}

std::vector<Variant> conv_windows(const Circumstances& at) {
  if (at.spec.linear_layers.empty()) return {};
  const auto change = [](std::string detail, std::int64_t late, bool flipped) {
    return Variant{std::move(detail), [late, flipped](Hypothesis& h) {
                     change_layers<OddConv>(h.program, [=](OddConv& odd) {
                       odd.late = late;
                       odd.flipped = flipped;
                     });
                   }};
  };
  return {change("one token early", 1, false), change("one token late", -1, false),
          change("weights in reverse", 0, true)};
}

std::vector<Variant> decays(const Circumstances& at) {
  if (at.spec.linear_layers.empty()) return {};
  const auto change = [](std::string detail, OddDecay odd) {
    return Variant{std::move(detail), [odd](Hypothesis& h) {
                     change_layers<OddDecay>(h.program, [odd](OddDecay& own) { own = odd; });
                   }};
  };
  return {change("without its minus", {.positive = true}),
          change("A_log without exp", {.log_as_is = true}),
          change("without softplus", {.softplus = false}),
          change("without dt_bias", {.biased = false})};
}

// Where decoding begins; without a candidate, in the middle of the prompt.
std::int64_t decoding_begins(const Circumstances& at) {
  if (at.spec.linear_layers.empty()) return 0;
  return at.survey ? at.positions / 2 : at.first_bad_position.value_or(0);
}

std::vector<Variant> conv_states(const Circumstances& at) {
  const std::int64_t from = decoding_begins(at);
  if (from <= 0) return {};
  const auto change = [from](std::string detail, bool outputs) {
    return Variant{std::move(detail), [from, outputs](Hypothesis& h) {
                     change_layers<OddConv>(h.program, [=](OddConv& odd) {
                       odd.decoding = from;
                       (outputs ? odd.keeps_outputs : odd.forgets) = true;
                     });
                   }};
  };
  return {change(fmt::format("holds outputs, from position {} on", from), true),
          change(fmt::format("lost, from position {} on", from), false)};
}

std::vector<Variant> lost_states(const Circumstances& at) {
  const std::int64_t from = decoding_begins(at);
  if (from <= 0) return {};
  return {{fmt::format("at position {}", from), [from](Hypothesis& h) {
             change_layers<OddDeltaRule>(h.program,
                                         [from](OddDeltaRule& odd) { odd.forgets_at = from; });
           }}};
}

}  // namespace

std::vector<Entry> delta_entries() {
  std::vector<Entry> all;
  all.push_back({.id = "attn-gate-split",
                 .group = "attention",
                 .name = "queries and gates split in halves",
                 .explanation =
                     "q_proj has each head's queries followed by its gate, not all queries "
                     "followed by all gates.",
                 .look_at = "how q_proj's output is split",
                 .frequency = 3,
                 .variants = with_query_and_gate([](Unpack& unpack) {
                   for (std::int64_t& width : unpack.widths) width *= unpack.groups;
                   unpack.groups = 1;
                 })});
  all.push_back({.id = "attn-gate-first",
                 .group = "attention",
                 .name = "gate taken for the query",
                 .explanation = "q_proj has each head's query first, then its gate.",
                 .look_at = "how q_proj's output is split",
                 .frequency = 2,
                 .variants = with_query_and_gate([](Unpack& unpack) {
                   unpack.into = {1, 0};
                 })});
  all.push_back({.id = "attn-gate-missing",
                 .group = "attention",
                 .name = "attention's gate left out",
                 .explanation = "The result of attention is multiplied by the sigmoid of the gate "
                                "that q_proj has after each head's queries.",
                 .look_at = "what happens before o_proj",
                 .frequency = 3,
                 .variants = with_gated_attention([](Block& layer) {
                   leave_out(layer, *layer.step_showing(Tap::kAttnGated));
                 })});
  all.push_back({.id = "attn-gate-silu",
                 .group = "attention",
                 .name = "silu instead of sigmoid in attention's gate",
                 .explanation = "The gate's sigmoid multiplies, not its silu.",
                 .look_at = "the activation of attention's gate",
                 .frequency = 2,
                 .variants = with_gated_attention([](Block& layer) {
                   Step& step = layer.steps[*layer.step_showing(Tap::kAttnGated)];
                   step.operation = Gate{Activation::kSilu};
                   std::swap(step.reads[0], step.reads[1]);
                 })});
  all.push_back({.id = "gdn-conv-window",
                 .group = "delta rule",
                 .name = "convolution over the wrong window",
                 .explanation = "Each output sees its own token and those before it, the last "
                                "weight with its own token.",
                 .look_at = "padding of the convolution, order of its weights",
                 .frequency = 3,
                 .variants = conv_windows});
  all.push_back({.id = "gdn-conv-silu",
                 .group = "delta rule",
                 .name = "no silu after the convolution",
                 .explanation = "Queries, keys and values pass through silu after the convolution.",
                 .look_at = "the activation of the convolution",
                 .frequency = 2,
                 .variants = in_delta<OddConv>([](OddConv& odd) { odd.activates = false; })});
  all.push_back({.id = "gdn-conv-state",
                 .group = "delta rule",
                 .name = "wrong state of the convolution",
                 .explanation = "The next token's window needs the projections of the tokens "
                                "before it, not what the convolution made of them.",
                 .look_at = "what the prefill stores in the convolution's state",
                 .frequency = 3,
                 .variants = conv_states});
  all.push_back({.id = "gdn-beta-raw",
                 .group = "delta rule",
                 .name = "beta without sigmoid",
                 .explanation = "beta is the sigmoid of in_proj_b's output.",
                 .look_at = "how beta is computed",
                 .frequency = 2,
                 .variants = each_step<Sigmoid>(
                     [](Block& layer, std::size_t step) { leave_out(layer, step); })});
  all.push_back(
      {.id = "gdn-decay",
       .group = "delta rule",
       .name = "wrong decay",
       .explanation = "The logarithm of the decay is -exp(A_log) * softplus(a + dt_bias).",
       .look_at = "the decay: its sign, exp of A_log, softplus, dt_bias",
       .frequency = 3,
       .variants = decays});
  all.push_back({.id = "gdn-l2norm",
                 .group = "delta rule",
                 .name = "not normalised before the delta rule",
                 .explanation = "Each head's query and key are divided by their length.",
                 .look_at = "use_qk_l2norm_in_kernel",
                 .frequency = 3,
                 .variants = not_unit});
  all.push_back({.id = "gdn-query-scale",
                 .group = "delta rule",
                 .name = "wrong scale of the delta rule's queries",
                 .explanation = "Queries are multiplied by 1 / sqrt(their head's size), once.",
                 .look_at = "whether both your code and the kernel scale the queries",
                 .frequency = 3,
                 .variants = query_scales});
  all.push_back({.id = "gdn-heads",
                 .group = "delta rule",
                 .name = "value heads with the wrong key heads",
                 .explanation =
                     "A key head serves consecutive value heads (repeat_interleave), not "
                     "every n-th.",
                 .look_at = "repeat or tile of queries and keys",
                 .frequency = 3,
                 .variants = in_delta<OddDeltaRule>([](OddDeltaRule& odd) {
                   odd.tiled = odd.rule.key_heads > 1 && odd.rule.value_heads > odd.rule.key_heads;
                 })});
  all.push_back(
      {.id = "gdn-no-delta",
       .group = "delta rule",
       .name = "values written without the delta",
       .explanation = "What the state already returns for the key is subtracted from the "
                      "value before it is written.",
       .look_at = "the update of the state",
       .frequency = 2,
       .variants = in_delta<OddDeltaRule>([](OddDeltaRule& odd) { odd.subtracts = false; })});
  all.push_back(
      {.id = "gdn-decay-late",
       .group = "delta rule",
       .name = "state decays after the update",
       .explanation = "The state decays first; then it is read, updated, and read by the "
                      "query.",
       .look_at = "the order of decay and update",
       .frequency = 2,
       .variants = in_delta<OddDeltaRule>([](OddDeltaRule& odd) { odd.decays_late = true; })});
  all.push_back({.id = "gdn-state-lost",
                 .group = "delta rule",
                 .name = "state of the delta rule lost",
                 .explanation = "The state is zero again where it should go on.",
                 .look_at = "what is passed from prefill to decode, or from chunk to chunk",
                 .frequency = 3,
                 .variants = lost_states});
  all.push_back(
      {.id = "gdn-norm-one-plus",
       .group = "delta rule",
       .name = "1 + weight in the delta rule's norm",
       .explanation = "The model's other norms multiply by 1 + weight, this one by its "
                      "weight.",
       .look_at = "the norm after the delta rule, and what the converter adds to weights",
       .frequency = 3,
       .variants = in_delta<OddGatedNorm>([](OddGatedNorm& odd) { odd.one_plus = true; })});
  all.push_back({.id = "gdn-norm-gate",
                 .group = "delta rule",
                 .name = "wrong gate of the delta rule's norm",
                 .explanation = "The normalised result is multiplied by silu(z).",
                 .look_at = "the norm after the delta rule",
                 .frequency = 3,
                 .variants = norm_gates});
  all.push_back(
      {.id = "gdn-state-bf16",
       .group = "delta rule",
       .name = "state of the delta rule in BF16",
       .explanation = "The state is FP32: in BF16, small updates are lost.",
       .look_at = "the dtype of the recurrent state",
       .frequency = 3,
       .variants = in_delta<OddDeltaRule>([](OddDeltaRule& odd) { odd.state_bf16 = true; })});
  all.push_back({.id = "gdn-decay-bf16",
                 .group = "delta rule",
                 .name = "decay in BF16",
                 .explanation = "The decay is FP32, although what it is computed from is BF16.",
                 .look_at = "the dtype of A_log, dt_bias and the decay",
                 .frequency = 3,
                 .rounding = true,
                 .variants = in_delta<OddDecay>([](OddDecay& odd) { odd.rounded = true; })});
  return all;
}

}  // namespace assay

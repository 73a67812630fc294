// The open parameters of the catalog's mistakes.
#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "diagnose/catalog_list.h"
#include "diagnose/fits.h"
#include "numerics/rope_table.h"

namespace assay {
namespace {

using Scale = Parameter::Scale;

Parameter of_layers(std::string_view entry, std::string place, double least, double most,
                    Scale scale, std::function<void(Hypothesis&, double)> apply,
                    std::function<std::string(double)> text) {
  Parameter p{entry, std::move(place), least, most, scale};
  p.apply = std::move(apply);
  p.text = std::move(text);
  return p;
}

Parameter of_end(Parameter::Part part, std::string_view entry, double least, double most,
                 std::function<void(Hypothesis&, double)> apply, std::string before) {
  Parameter p{entry, "", least, most};
  p.of = part;
  p.apply = std::move(apply);
  p.text = [before = std::move(before)](double x) { return fmt::format("{}{:.6g}", before, x); };
  return p;
}

auto words(std::string before, std::string after = "") {
  return [before = std::move(before), after = std::move(after)](double x) {
    return fmt::format("{}{:.6g}{}", before, x, after);
  };
}

void of_rope(const Circumstances& at, std::vector<Parameter>& all) {
  const ModelSpec& spec = at.spec;
  const bool local = spec.local_rope_parameters.has_value();
  all.push_back(of_layers(
      "rope-theta", local ? "full" : "", 50, 1e10, Scale::kLog,
      [](Hypothesis& h, double x) { h.program.ropes[0].theta = x; },
      words("", local ? " in the full layers" : "")));
  all.back().own = spec.rope_parameters.theta;
  if (local) {
    all.push_back(of_layers(
        "rope-theta", "sliding", 50, 1e10, Scale::kLog,
        [](Hypothesis& h, double x) { h.program.ropes[1].theta = x; },
        words("", " in the sliding layers")));
    all.back().own = spec.local_rope_parameters->theta;
  }
  all.push_back(of_layers(
      "rope-scaling", local ? "all" : "", 1.0 / 64, 128, Scale::kLog,
      [](Hypothesis& h, double x) {
        change_layers<OddRotate>(h.program, [x](OddRotate& r) { r.factor = x; });
      },
      words("by ")));
  all.back().own = 1;
  const auto linear = [](RopeParameters& parameters, double x) {
    parameters.scaling = RopeScaling::kLinear;
    parameters.factor = x;
  };
  if (local) {
    all.push_back(of_layers(
        "rope-scaling", "sliding", 1.0 / 64, 128, Scale::kLog,
        [linear](Hypothesis& h, double x) { linear(h.program.ropes[1], x); },
        words("by ", " in the sliding layers")));
    all.back().own = spec.local_rope_parameters->factor;
    all.push_back(of_layers(
        "rope-scaling", "full", 1.0 / 64, 128, Scale::kLog,
        [linear](Hypothesis& h, double x) { linear(h.program.ropes[0], x); },
        words("by ", " in the full layers")));
    all.back().own = spec.rope_parameters.factor;
  }
  const RopeParameters& own = spec.rope_parameters;
  const bool has_factor =
      own.scaling == RopeScaling::kLinear || own.scaling == RopeScaling::kYarn ||
      own.scaling == RopeScaling::kLlama3 || own.scaling == RopeScaling::kDynamic;
  if (has_factor) {
    const bool follows = own.scaling == RopeScaling::kYarn &&
                         std::abs(own.attention_factor - yarn_attention_factor(own.factor)) < 1e-6;
    all.push_back(of_layers(
        "rope-scaling-wrong", "factor", 1, 256, Scale::kLog,
        [follows](Hypothesis& h, double x) {
          h.program.ropes[0].factor = x;
          if (follows) {
            h.program.ropes[0].attention_factor = yarn_attention_factor(x);
          }
        },
        words("factor ", fmt::format(", not {:g}", own.factor))));
    all.back().own = own.factor;
  }
  if (own.scaling != RopeScaling::kNone) {
    // An engine may ignore the scaling and also have its own base.
    all.push_back(of_layers(
        "rope-scaling-wrong", "", 50, 1e10, Scale::kLog,
        [](Hypothesis& h, double x) {
          h.program.ropes[0].theta = x;
          h.program.ropes[0].scaling = RopeScaling::kNone;
          h.program.ropes[0].attention_factor = 1;
        },
        words("left out, and the base is ", fmt::format(", not {:g}", own.theta))));
  }
  if (own.scaling == RopeScaling::kYarn || own.scaling == RopeScaling::kLlama3) {
    all.push_back(of_layers(
        "rope-scaling-wrong", "length", 64, 1 << 20, Scale::kWhole,
        [](Hypothesis& h, double x) { h.program.ropes[0].original_length = x; },
        words("original length ", fmt::format(", not {:g}", own.original_length))));
    all.push_back(of_layers(
        "rope-scaling-wrong", "factor of cos and sin", 0.25, 4, Scale::kLog,
        [](Hypothesis& h, double x) { h.program.ropes[0].attention_factor = x; },
        words("cos and sin times ", fmt::format(", not {:.6g}", own.attention_factor))));
    all.back().own = own.attention_factor;
  }
  if (own.scaling != RopeScaling::kLongrope) {
    const auto half = static_cast<double>(spec.least_head_dim()) / 2;
    all.push_back(of_layers(
        "rope-partial", "", 1, half, Scale::kWhole,
        [](Hypothesis& h, double x) {
          const std::int64_t dims = 2 * static_cast<std::int64_t>(x);
          change_layers<OddRotate>(h.program, [dims](OddRotate& r) { r.rotate.dims = dims; });
        },
        [dim = spec.least_head_dim()](double x) {
          return fmt::format("the first {:.0f} of {} channels", 2 * x, dim);
        }));
  }
  if (at.first_bad_position && *at.first_bad_position < at.positions) {
    const std::int64_t from = *at.first_bad_position;
    Parameter jump = of_layers(
        "pos-jump", "", -static_cast<double>(std::min<std::int64_t>(from, 32)), 48, Scale::kWhole,
        [from, count = at.positions](Hypothesis& h, double x) {
          Rotary rotary;
          for (std::int64_t p = 0; p < count; ++p) {
            rotary.position_of.push_back(p < from ? p : p + static_cast<std::int64_t>(x));
          }
          set_rotary(h.program, rotary);
        },
        [from](double x) { return fmt::format("by {:+.0f} from position {} on", x, from); });
    jump.grid = static_cast<std::size_t>(jump.most - jump.least) + 1;  // only the exact number fits
    all.push_back(std::move(jump));
  }
}

void of_attention(const Circumstances& at, std::vector<Parameter>& all) {
  const ModelSpec& spec = at.spec;
  const double scale = spec.attention_scale();
  all.push_back(of_layers(
      "attn-scale", "", scale / 256, scale * 256, Scale::kLog,
      [](Hypothesis& h, double x) {
        change_attention(h.program, [x](OddAttention& a) { a.scores.scale = x; });
      },
      words("", fmt::format(", not {:.6g}", scale))));
  all.back().own = scale;
  const double cap = spec.attention.softcap;
  all.push_back(of_layers(
      cap > 0 ? "attn-softcap-missing" : "attn-softcap", "", 0.1, 1000, Scale::kLog,
      [](Hypothesis& h, double x) {
        change_attention(h.program, [x](OddAttention& a) { a.scores.cap = x; });
      },
      words("at ")));
  all.back().own = cap;
  const bool has_window = spec.attention.window > 0;
  all.push_back(of_layers(
      has_window ? "window-wrong" : "sliding-window", "", 1,
      static_cast<double>(std::max<std::int64_t>(at.positions - 1, 2)), Scale::kWhole,
      [layers = spec.sliding_layers](Hypothesis& h, double x) {
        slide_in(h.program, static_cast<std::int64_t>(x),
                 [&](std::int64_t l) { return ModelSpec::is_among(layers, l); });
      },
      words("of ",
            has_window ? fmt::format(" positions, not {}", spec.attention.window) : " positions")));
  // Few positions show whether a window is nearly right, so each one up to here is tried.
  constexpr double kEachWindow = 64;
  all.back().grid = static_cast<std::size_t>(std::min(all.back().most, kEachWindow));
  if (spec.attention.sinks) return;
  all.push_back(of_layers(
      "softmax-plus-one", "", -20, 20, Scale::kLinear,
      [](Hypothesis& h, double x) {
        change_attention(h.program, [x](OddAttention& a) { a.sinks = {x}; });
      },
      words("a sink of score ", " in every head")));
}

// Values of a tap are clamped between `least` and `most` times the parameter.
struct Limit {
  Tap tap;
  double least;
  double most;
};

void of_mlp(const Circumstances& at, std::vector<Parameter>& all) {
  const auto most = static_cast<double>(at.spec.moe.num_experts);
  if (most > 16) {
    all.push_back(of_layers(
        "experts-count", "", 1, most, Scale::kWhole,
        [](Hypothesis& h, double x) {
          set_experts_per_token(h.program, static_cast<std::int64_t>(x));
        },
        words("", fmt::format(", not {}", at.spec.moe.num_experts_per_tok))));
  }
  const auto limited = [](std::string place, std::vector<Limit> limits, std::string text) {
    Parameter p = of_layers(
        "values-limited", std::move(place), 0.02, 500, Scale::kLog,
        [limits = std::move(limits)](Hypothesis& h, double x) {
          for (const Limit& l : limits) limit(h.program, l.tap, l.least * x, l.most * x);
        },
        words(std::move(text)));
    p.grid = 20;  // the limit matters only a little below the largest value
    return p;
  };
  constexpr double kNone = -std::numeric_limits<double>::infinity();
  all.push_back(limited("stream", {{Tap::kLayerOutput, -1, 1}}, "the stream after a layer at +-"));
  all.push_back(limited("attention",
                        {{Tap::kQProj, -1, 1}, {Tap::kKProj, -1, 1}, {Tap::kVProj, -1, 1}},
                        "queries, keys and values at +-"));
  all.push_back(limited("gate", {{Tap::kGateProj, kNone, 1}, {Tap::kUpProj, -1, 1}},
                        "gate below, up between +-"));
  all.push_back(limited("gate and up", {{Tap::kGateProj, -1, 1}, {Tap::kUpProj, -1, 1}},
                        "gate and up at +-"));
  all.push_back(limited("up", {{Tap::kUpProj, -1, 1}}, "up at +-"));
  all.push_back(limited("gate alone", {{Tap::kGateProj, kNone, 1}}, "gate below "));
  all.push_back(limited("gate both ways", {{Tap::kGateProj, -1, 1}}, "gate at +-"));
}

void of_norms(const Circumstances& at, std::vector<Parameter>& all) {
  const std::vector<Variant> places = eps_in_norms(at, 1e-3);
  for (std::size_t i = 0; i < places.size(); ++i) {
    all.push_back(of_layers(
        "eps-value", places[i].detail, 1e-8, 1, Scale::kLog,
        [at, i](Hypothesis& h, double x) { eps_in_norms(at, x).at(i).apply(h); },
        [at, i](double x) { return eps_in_norms(at, x).at(i).detail; }));
    all.back().grid = 26;  // a factor of 2 is as wrong as none
  }
}

void of_ends(const Circumstances& at, std::vector<Parameter>& all) {
  using Part = Parameter::Part;
  for (const bool rounded : {true, false}) {
    Parameter p = of_end(
        Part::kEmbedding, at.spec.embedding.scale == 1 ? "embed-scale" : "embed-scale-missing",
        1e-4, 1e4,
        [rounded](Hypothesis& h, double x) {
          change_each<OddLookup>(h.program.embedding, [&](OddLookup& e, const Step&) {
            e.lookup.scale = x;
            e.scale_rounded = rounded;
          });
        },
        "by ");
    p.place = rounded ? "rounded" : "exact";
    p.own = at.spec.embedding.scale;
    all.push_back(std::move(p));
  }
  all.push_back(of_end(
      Part::kHead, "logits-scale", 1e-3, 1e3,
      [](Hypothesis& h, double x) { scale_logits(h.program, x); }, "by "));
  all.back().own = 1;
  all.push_back(of_end(
      Part::kHead, at.spec.head.softcap > 0 ? "final-softcap-missing" : "final-softcap", 0.1, 1000,
      [](Hypothesis& h, double x) { cap_logits(h.program, x); }, "at "));
  all.back().own = at.spec.head.softcap;
}

}  // namespace

std::vector<Parameter> open_parameters(const Circumstances& at) {
  std::vector<Parameter> all;
  of_rope(at, all);
  of_attention(at, all);
  of_mlp(at, all);
  of_norms(at, all);
  of_ends(at, all);
  return all;
}

}  // namespace assay

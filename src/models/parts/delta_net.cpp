#include "models/parts/delta_net.h"

#include <cmath>

namespace assay {
namespace {

// transformers' l2norm has it as a constant.
constexpr double kUnitEps = 1e-6;

struct Projected {
  ValueId qkv, z, b, a;
};

Projected separate(Builder& b, ValueId x) {
  const DeltaSpec& d = b.spec().delta;
  const auto matrix = [&](std::string_view name, std::int64_t rows) {
    return b.matrix(name, rows, b.spec().hidden_size);
  };
  const std::vector<ValueId> all = b.steps(Linear{}, {x},
                                           {{{d.conv_size()}, Tap::kGdnQkv},
                                            {{d.value_heads, d.value_dim}, Tap::kGdnZ},
                                            {{d.value_heads}, Tap::kGdnB},
                                            {{d.value_heads}, Tap::kGdnA}},
                                           {matrix("linear_attn.in_proj_qkv", d.conv_size()),
                                            matrix("linear_attn.in_proj_z", d.value_size()),
                                            matrix("linear_attn.in_proj_b", d.value_heads),
                                            matrix("linear_attn.in_proj_a", d.value_heads)});
  return {all[0], all[1], all[2], all[3]};
}

// Each key head's rows are its query, its key, and the values and z of its value heads; b and a of
// these heads are in a second matrix.
Projected packed(Builder& b, ValueId x) {
  const DeltaSpec& d = b.spec().delta;
  const std::int64_t hidden = b.spec().hidden_size;
  const std::int64_t share = d.value_heads / d.key_heads;
  const std::int64_t qkvz = d.conv_size() + d.value_size();
  const std::vector<ValueId> both =
      b.steps(Linear{}, {x}, {{{qkvz}, std::nullopt}, {{2 * d.value_heads}, std::nullopt}},
              {b.matrix("linear_attn.in_proj_qkvz", qkvz, hidden),
               b.matrix("linear_attn.in_proj_ba", 2 * d.value_heads, hidden)});
  const std::int64_t values = share * d.value_dim;
  const std::vector<ValueId> wide =
      b.steps(Unpack{d.key_heads, {d.key_dim, d.key_dim, values, values}, {0, 0, 0, 1}}, {both[0]},
              {{{d.conv_size()}, Tap::kGdnQkv}, {{d.value_heads, d.value_dim}, Tap::kGdnZ}});
  const std::vector<ValueId> narrow =
      b.steps(Unpack{d.key_heads, {share, share}, {0, 1}}, {both[1]},
              {{{d.value_heads}, Tap::kGdnB}, {{d.value_heads}, Tap::kGdnA}});
  return {wide[0], wide[1], narrow[0], narrow[1]};
}

}  // namespace

ValueId delta_net(Builder& b, ValueId x, const DeltaTensors& tensors) {
  const ModelSpec& s = b.spec();
  const DeltaSpec& d = s.delta;
  const Projected in = tensors.packed ? packed(b, x) : separate(b, x);
  TensorUse kernel = b.matrix("linear_attn.conv1d", d.conv_size(), d.conv_taps);
  kernel.depthwise = true;
  const ValueId conv =
      b.step(CausalConv{d.conv_taps}, {in.qkv}, {{d.conv_size()}, Tap::kGdnConv}, {kernel});
  const ValueId beta = b.step(Sigmoid{}, {in.b}, {{d.value_heads}, Tap::kGdnBeta});
  const ValueId decay = b.step(
      Decay{}, {in.a}, {{d.value_heads}, Tap::kGdnDecay},
      {b.named("linear_attn.A_log", d.value_heads), b.named("linear_attn.dt_bias", d.value_heads)});
  const DeltaRule rule{d.key_heads,
                       d.value_heads,
                       d.key_dim,
                       d.value_dim,
                       1 / std::sqrt(static_cast<double>(d.key_dim)),
                       kUnitEps};
  const ValueId core =
      b.step(rule, {conv, beta, decay}, {{d.value_heads, d.value_dim}, Tap::kGdnCore});
  const ValueId normed = b.step(GatedNorm{s.rms_norm_eps, d.value_dim}, {core, in.z},
                                {{d.value_heads, d.value_dim}, Tap::kGdnNorm},
                                {b.vector("linear_attn.norm", d.value_dim)});
  return b.step(Linear{}, {normed}, {{s.hidden_size}, Tap::kGdnOutput},
                {b.matrix("linear_attn.out_proj", s.hidden_size, d.value_size())});
}

}  // namespace assay

// cos and sin of the rotary embedding, for the tokens of a step.
#include <algorithm>

#include "model/forward.h"
#include "model/variant_ops.h"

namespace assay {

template <class N>
void ForwardPass<N>::rotate() {
  rotate(spec_.rope_parameters, rotation_);
  if (spec_.local_rope_parameters) rotate(*spec_.local_rope_parameters, local_rotation_);
}

template <class N>
void ForwardPass<N>::rotate(const RopeParameters& parameters, Rotation& rotation) {
  const auto dims = static_cast<std::size_t>(spec_.rotary_dims());
  const std::size_t half = dims / 2;
  rotation.cos.resize(tokens_.size() * half);
  rotation.sin.resize(tokens_.size() * half);
  std::size_t chunk = chunks_.size();
  for (std::size_t t = 0; t < tokens_.size(); ++t) {
    if (tokens_[t].chunk != chunk) {
      chunk = tokens_[t].chunk;
      const Chunk<N>& of = chunks_[chunk];
      if (parameters.depend_on_length() || rotation.frequencies.inv_freq.empty()) {
        rotation.frequencies =
            rope_frequencies<Real>(parameters, dims, of.cache->length() + of.ids.size());
      }
    }
    Real* cos = &rotation.cos[t * half];
    Real* sin = &rotation.sin[t * half];
    variant_rope_row(spec_.rope, rotation.frequencies, rope_position(tokens_[t]), cos, sin);
    if (spec_.rope.rounded_once) continue;
    for (std::size_t i = 0; i < half; ++i) {
      cos[i] = stored<N>(spec_.store, cos[i]);
      sin[i] = stored<N>(spec_.store, sin[i]);
    }
  }
}

template <class N>
typename ForwardPass<N>::Rotation& ForwardPass<N>::rotation_of(std::int64_t l) {
  return &spec_.rope_of(l) == &spec_.rope_parameters ? rotation_ : local_rotation_;
}

// The row of the rotary tables that the token is rotated by.
template <class N>
std::size_t ForwardPass<N>::rope_position(const Token& token) const {
  const DecodeSpec& decode = spec_.attention.decode;
  if (decode.fault == DecodeFault::kNone || std::cmp_less(token.position, decode.from)) {
    return token.position;
  }
  if (decode.fault == DecodeFault::kStuck) return static_cast<std::size_t>(decode.from);
  if (decode.fault != DecodeFault::kPosition) return token.position;
  return static_cast<std::size_t>(
      std::max<std::int64_t>(static_cast<std::int64_t>(token.position) + decode.amount, 0));
}

template <class N>
void ForwardPass<N>::rope(std::int64_t l) {
  const RopeSpec& rope_spec = spec_.rope;
  if (spec_.attention.decode.fault == DecodeFault::kNotRotated) {
    act_.unrotated.assign(act_.k.begin(), act_.k.end());
  }
  if (rope_spec.on_q) rope(l, act_.q, static_cast<std::size_t>(spec_.num_attention_heads));
  tap(Tap::kQRope, l, act_.q);
  const auto kv_heads = static_cast<std::size_t>(spec_.num_key_value_heads);
  if (rope_spec.on_k) rope(l, act_.k, kv_heads);
  tap(Tap::kKRope, l, act_.k);
  if (rope_spec.on_v) rope(l, act_.v, kv_heads);
}

template <class N>
void ForwardPass<N>::rope(std::int64_t l, std::span<Real> heads, std::size_t count) {
  const auto head_dim = static_cast<std::size_t>(spec_.head_dim);
  const auto dims = static_cast<std::size_t>(spec_.rotary_dims());
  const Rotation& rotation = rotation_of(l);
  const bool plain = is_plain(spec_.rope) && spec_.store == Store::kOwn;
  pool_.parallel_for(tokens_.size(), kGrain / (count * head_dim) + 1,
                     [&](std::size_t begin, std::size_t end) {
                       for (std::size_t t = begin; t < end; ++t) {
                         const Real* cos = &rotation.cos[t * (dims / 2)];
                         const Real* sin = &rotation.sin[t * (dims / 2)];
                         for (std::size_t h = 0; h < count; ++h) {
                           Real* x = &heads[(t * count + h) * head_dim];
                           if (plain) {
                             kernels_.rope(x, cos, sin, spec_.rope.rounded_once, dims, x);
                           } else {
                             variant_rope<N>(spec_.rope, spec_.store, cos, sin, dims, x);
                           }
                         }
                       }
                     });
}

#define ASSAY_INSTANTIATE(N)                                                             \
  template void ForwardPass<N>::rotate();                                                \
  template void ForwardPass<N>::rotate(const RopeParameters&, Rotation&);                \
  template typename ForwardPass<N>::Rotation& ForwardPass<N>::rotation_of(std::int64_t); \
  template std::size_t ForwardPass<N>::rope_position(const Token&) const;                \
  template void ForwardPass<N>::rope(std::int64_t)
ASSAY_INSTANTIATE(Bf16);
ASSAY_INSTANTIATE(F32);
ASSAY_INSTANTIATE(F64);
#undef ASSAY_INSTANTIATE

}  // namespace assay

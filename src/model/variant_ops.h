// The operations as a spec may have them: plain and slow, for what the kernels do not do.
#pragma once

#include <cstddef>
#include <span>

#include "assay/spec.h"
#include "numerics/kernels.h"
#include "numerics/rope_table.h"

namespace assay {

// Whether the kernels do it: as some model of the family has it.
bool is_plain(const NormSpec& norm);
bool is_plain(const RopeSpec& rope);
bool is_plain(const AttentionSpec& attention);
// Whether it needs the stream as it entered the layer.
bool needs_layer_input(const BlockSpec& block);

template <class Real>
Real sigmoid(Real x);

// x as it is stored.
template <class N>
typename N::Real stored(Store store, typename N::Real x);

// As Kernels::rms_norm, over n elements; the weights are repeated where there are fewer. In place
// is allowed.
template <class N>
void variant_rms_norm(const NormSpec& norm, Store store, double eps,
                      std::span<const typename N::Real> weights, const typename N::Real* x,
                      std::size_t n, typename N::Real* out);

// As rope_row(), with what `rope` changes; not rounded as the numerics rounds.
template <class Real>
void variant_rope_row(const RopeSpec& rope, const RopeFrequencies<Real>& frequencies,
                      std::size_t position, Real* cos, Real* sin);

// Rotates the n rotated elements of one head in place.
template <class N>
void variant_rope(const RopeSpec& rope, Store store, const typename N::Real* cos,
                  const typename N::Real* sin, std::size_t n, typename N::Real* x);

// out[i] = act(gate[i]) * up[i]. In place is allowed.
template <class N>
void variant_activation(const MlpSpec& mlp, Store store, const typename N::Real* gate,
                        const typename N::Real* up, std::size_t n, typename N::Real* out);

// x[i] = cap * tanh(x[i] / cap).
template <class N>
void softcap(double cap, Store store, std::span<typename N::Real> x);

// Softmax of rows of `count` scores in place, as the spec says; row i begins with element
// firsts[i], and what stands before becomes 0.
template <class N>
void variant_softmax(const AttentionSpec& attention, Store store, const Kernels<N>& kernels,
                     std::span<const std::size_t> firsts, std::size_t count, typename N::Real* x);

// A key or a value as it comes back from a cache of another type.
template <class N>
void through_cache(DType dtype, std::span<typename N::Real> row);

}  // namespace assay

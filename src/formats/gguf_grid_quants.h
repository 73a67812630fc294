// The tensor types of ggml whose elements are chosen from grids (IQ1 to IQ3), and ternary ones
// (TQ).
#pragma once

#include <cstdint>

namespace assay {

// Each converts a block of 256 elements to FP32 by the type's formula, rounded after each operation
// as in ggml; see gguf_quants.h. Layouts are in gguf_grid_quants.cpp.
void iq1_s(const std::uint8_t* block, float* x);
void iq1_m(const std::uint8_t* block, float* x);
void iq2_xxs(const std::uint8_t* block, float* x);
void iq2_xs(const std::uint8_t* block, float* x);
void iq2_s(const std::uint8_t* block, float* x);
void iq3_xxs(const std::uint8_t* block, float* x);
void iq3_s(const std::uint8_t* block, float* x);
void tq1_0(const std::uint8_t* block, float* x);
void tq2_0(const std::uint8_t* block, float* x);

}  // namespace assay

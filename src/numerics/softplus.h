// log(1 + exp(x)), as torch computes it. One function for every instruction set: a model has only
// some dozens of values per token.
#pragma once

namespace assay {

// x itself above 20.
float softplus(float x);
double softplus(double x);

}  // namespace assay

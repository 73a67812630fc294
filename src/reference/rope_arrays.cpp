#include "reference/rope_arrays.h"

#include <algorithm>
#include <span>
#include <string>
#include <utility>

#include "models/program.h"
#include "numerics/rope_table.h"

namespace assay {
namespace {

// Each value occurs twice in a row, as in transformers.
template <class To, class Real>
void copy_twice(const std::vector<Real>& halves, std::size_t half, std::span<To> rows) {
  for (std::size_t i = 0; i < halves.size(); ++i) {
    To* row = &rows[i / half * 2 * half];
    row[i % half] = row[i % half + half] = static_cast<To>(halves[i]);
  }
}

template <class Real>
Array table(std::string name, const std::vector<Real>& halves, std::size_t dims, DType store) {
  const std::size_t half = dims / 2;
  Array array{std::move(name),
              store,
              {1, static_cast<std::int64_t>(halves.size() / half), static_cast<std::int64_t>(dims)},
              {}};
  array.bytes.resize(2 * halves.size() * dtype_size(store));
  if (store == DType::kF64) {
    copy_twice(halves, half, array.as<double>());
  } else {
    copy_twice(halves, half, array.as<float>());
  }
  return array;
}

}  // namespace

template <class Real>
std::vector<Array> rope_arrays(const ModelSpec& spec, std::size_t prompt, std::size_t positions,
                               DType store) {
  const std::vector<RopeParameters> ropes = ropes_of(spec);
  std::vector<Array> arrays;
  for (std::size_t which = 0; which < ropes.size(); ++which) {
    const std::string name = which == 0 ? "rope" : "rope_local";
    const std::size_t dims = static_cast<std::size_t>(spec.rotary_dims(which));
    const std::size_t half = dims / 2;
    std::vector<Real> cos(positions * half);
    std::vector<Real> sin(positions * half);
    RopeRows<Real> rows(ropes[which], dims);
    rows.compute(0, prompt, cos.data(), sin.data());
    for (std::size_t p = prompt; p < positions; ++p) {
      rows.compute(p, p + 1, &cos[p * half], &sin[p * half]);
    }
    arrays.push_back(table(name + "_cos", cos, dims, store));
    arrays.push_back(table(name + "_sin", sin, dims, store));
  }
  return arrays;
}

template std::vector<Array> rope_arrays<float>(const ModelSpec&, std::size_t, std::size_t, DType);
template std::vector<Array> rope_arrays<double>(const ModelSpec&, std::size_t, std::size_t, DType);

}  // namespace assay

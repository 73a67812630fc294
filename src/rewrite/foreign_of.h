// Makes an operation from a value that describes it, for operations that programs do not have.
#pragma once

#include <memory>
#include <utility>

#include "models/program.h"
#include "numerics/numerics.h"

namespace assay {

// Values: a comparable struct with `template <class N> void compute(ForeignRun<N>&) const`.
template <class Values>
class ForeignOf final : public ForeignOperation {
 public:
  explicit ForeignOf(Values own) : values(std::move(own)) {}
  bool equals(const ForeignOperation& other) const override {
    const auto* same = dynamic_cast<const ForeignOf*>(&other);
    return same != nullptr && same->values == values;
  }
  void run(ForeignRun<Bf16>& with) const override { values.compute(with); }
  void run(ForeignRun<F32>& with) const override { values.compute(with); }
  void run(ForeignRun<F64>& with) const override { values.compute(with); }

  const Values values;
};

template <class Values>
Foreign foreign(Values values) {
  return {std::make_shared<const ForeignOf<Values>>(std::move(values))};
}

// Null if the operation is of a different kind.
template <class Values>
const Values* foreign_as(const Operation& operation) {
  const auto* own = std::get_if<Foreign>(&operation);
  if (own == nullptr) return nullptr;
  const auto* of = dynamic_cast<const ForeignOf<Values>*>(own->operation.get());
  return of == nullptr ? nullptr : &of->values;
}

}  // namespace assay

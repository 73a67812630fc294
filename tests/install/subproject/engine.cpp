#include <assay.h>
#include <assay/check.h>

assay::TensorResult check(assay::Checker& checker, const assay::ArrayView& tensor) {
  return checker.check(tensor);
}
const char* version() { return assay_version(); }

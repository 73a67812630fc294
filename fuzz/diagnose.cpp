// A right dump that was altered, diagnosed: a verdict or an input error comes out.
#include "assay/diagnose.h"

#include "altered_dump.h"
#include "small_model.h"

namespace assay {

FUZZ_TARGET(diagnose) {
  static const SmallReference small = make_reference();
  Choices choices(input);
  const std::size_t how = choices.byte();
  DiagnoseOptions options;
  options.model = small.model;
  options.candidate = scratch() / "c.npz";
  options.threads = 1;
  if (how % 2 == 1) options.reference = small.set;
  const std::vector<Array> arrays = altered_dump(small.arrays, choices);
  if (!accepts([&] { write_dump(options.candidate, arrays); })) return;
  accepts([&] { require(!diagnose(options).summary.empty(), "a diagnosis has a summary"); },
          ErrorKind::kUsage);
}

}  // namespace assay

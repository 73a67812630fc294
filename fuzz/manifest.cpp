// Any bytes as the manifest of a reference.
#include "assay/npz.h"
#include "candidate/prompt_pairs.h"
#include "candidate/reference_files.h"
#include "target.h"
#include "verify/reference_source.h"

namespace assay {
namespace {

bool make_files() {
  const std::vector<float> values(6, 1.5F);
  const std::vector<std::int64_t> ids = {1, 2, 3};
  const std::vector<ArrayView> arrays = {
      {"input_ids", DType::kI64, {1, 3}, std::as_bytes(std::span(ids))},
      {"logits", DType::kF32, {1, 3, 2}, std::as_bytes(std::span(values))}};
  std::filesystem::create_directory(scratch() / "set");
  for (const char* name : {"set/r.npz", "c.npz"}) {
    write_npz(scratch() / name, arrays, Compression::kNone, 1);
  }
  return true;
}

}  // namespace

FUZZ_TARGET(manifest) {
  static const bool made = make_files();
  require(made, "files");
  static const NameMap map{std::string()};
  scratch_file("set/manifest.json", input);
  accepts([&] { read_reference_notes(scratch() / "set"); });
  accepts(
      [&] {
        const Pairing pairing = pair_prompts(scratch() / "set", scratch() / "c.npz", "", map);
        for (const PromptPair& pair : pairing.prompts) {
          accepts([&] { const ReferenceFiles files(pair); });
        }
      },
      ErrorKind::kUsage);  // the prompt may be in doubt
}

}  // namespace assay

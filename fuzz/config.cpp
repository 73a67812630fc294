// Any bytes as the config.json of a checkpoint whose weights are another config's.
#include "model/model.h"
#include "model/read_spec.h"
#include "models/spec.h"
#include "small_model.h"

namespace assay {

FUZZ_TARGET(config) {
  static const std::filesystem::path model = make_checkpoint("model", small_config());
  write_text(model / "config.json", text_of(input));
  accepts([&] {
    const ModelSpec spec = read_spec(model);
    require(spec.num_hidden_layers < kMostLayers, "layers are few");
    require(spec == read_spec_file(model / "config.json"), "one config, one spec");
  });
  accepts([&] { read_eos_token_ids(model); });
  accepts([&] { load_model(model); });
}

}  // namespace assay

// A file of rules, and after a 0 byte names to look up; or only such names for the maps that come
// along.
#include "candidate/name_map.h"

#include "target.h"

namespace assay {
namespace {

void look_up(const NameMap& map, std::string_view name) {
  for (const std::int64_t layers : {std::int64_t{2}, std::int64_t{101}}) {
    const NameMeaning meaning = map.meaning(name, layers);
    require(meaning.known || meaning.claims.empty(), "what is claimed is known");
    meaning.singles();
    map.ignores(name, layers);
    map.tap_of(name, layers);
  }
}

}  // namespace

FUZZ_TARGET(name_map) {
  static const NameMap known{std::string()};
  const std::string_view text = text_of(input);
  const std::size_t end = std::min(text.find('\0'), text.size());
  std::vector<std::string> names = {"layer_00_output", "model.layers.1.self_attn.q_proj", "logits"};
  for (std::size_t at = end; at < text.size();) {
    const std::size_t next = std::min(text.find('\0', at + 1), text.size());
    names.emplace_back(text.substr(at + 1, next - at - 1));
    at = next;
  }
  if (end == 0) {
    for (const std::string& name : names) look_up(known, name);
    return;
  }
  const auto file = scratch_file("m.json", input.first(end));
  accepts([&] {
    NameMap map(file.string());
    map.adapt_to(names);
    for (const std::string& name : names) look_up(map, name);
  });
}

}  // namespace assay

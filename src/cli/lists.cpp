#include "cli/lists.h"

#include <fmt/format.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "candidate/name_map.h"
#include "cli/commands.h"
#include "model/read_spec.h"
#include "model/synth.h"
#include "models/taps.h"
#include "report/table.h"

namespace assay {
namespace {

using Json = nlohmann::ordered_json;

int list_names(const char* schema, const char* title, const std::vector<std::string>& names,
               bool json) {
  if (json) {
    print_json({{"schema", schema}, {title, names}});
    return 0;
  }
  for (const std::string& name : names) print(name + "\n");
  return 0;
}

// A tap as a glob, with the layers that have it in the same shape.
struct TapRow {
  std::string glob;
  std::vector<std::int64_t> layers;      // empty outside the layers
  std::vector<std::int64_t> shape;       // for one token
  std::vector<std::int64_t> shape_of_2;  // for two
  bool by_default = false;
};

std::vector<TapRow> tap_rows(const ModelSpec& spec) {
  const TapSet classic = TapSet::classic(spec);
  std::vector<TapRow> rows;
  for (int i = 0; i < kTapCount; ++i) {
    const auto tap = static_cast<Tap>(i);
    const bool in_layers = is_layer_tap(tap);
    const std::int64_t layers = in_layers ? spec.num_hidden_layers : 1;
    const std::size_t first = rows.size();
    for (std::int64_t layer = 0; layer < layers; ++layer) {
      if (!has_tap(tap, layer, spec)) continue;
      const std::vector<std::int64_t> shape = tap_shape(tap, layer, spec, 1);
      std::size_t row = first;
      while (row < rows.size() && rows[row].shape != shape) ++row;
      if (row == rows.size()) {
        rows.push_back({fmt::format("{}{}", in_layers ? "layer_*_" : "", tap_base_name(tap)),
                        {},
                        shape,
                        tap_shape(tap, layer, spec, 2),
                        classic.wants(tap, layer)});
      }
      if (in_layers) rows[row].layers.push_back(layer);
    }
  }
  return rows;
}

// The shape, with "S" for the number of tokens.
std::vector<std::string> axes(const TapRow& row) {
  std::vector<std::string> axes;
  for (std::size_t i = 0; i < row.shape.size(); ++i) {
    const bool tokens = row.shape[i] != row.shape_of_2[i];
    axes.push_back(tokens ? std::string("S") : std::to_string(row.shape[i]));
  }
  return axes;
}

std::string layers_text(const std::vector<std::int64_t>& layers) {
  std::string text;
  for (std::size_t i = 0; i < layers.size();) {
    std::size_t end = i + 1;
    while (end < layers.size() && layers[end] == layers[end - 1] + 1) ++end;
    if (!text.empty()) text += ", ";
    text += end - i > 1 ? fmt::format("{} to {}", layers[i], layers[end - 1])
                        : std::to_string(layers[i]);
    i = end;
  }
  return text;
}

}  // namespace

int list_models(bool json) { return list_names("assay.models/1", "models", known_models(), json); }

int list_maps(bool json) { return list_names("assay.maps/1", "maps", NameMap::known(), json); }

int list_taps(const std::filesystem::path& model, bool json) {
  const ModelSpec spec = read_spec(model);
  const std::vector<TapRow> rows = tap_rows(spec);
  if (json) {
    Json taps = Json::array();
    for (const TapRow& row : rows) {
      Json shape = Json::array();
      const std::vector<std::string> names = axes(row);
      for (std::size_t i = 0; i < names.size(); ++i) {
        shape.push_back(names[i] == "S" ? Json("S") : Json(row.shape[i]));
      }
      taps.push_back({{"glob", row.glob},
                      {"layers", row.layers},
                      {"shape", std::move(shape)},
                      {"by_default", row.by_default}});
    }
    print_json({{"schema", "assay.taps/1"},
                {"model", model.string()},
                {"num_layers", spec.num_hidden_layers},
                {"taps", std::move(taps)}});
    return 0;
  }
  Table table({{"tap"}, {"shape, S: tokens"}, {"by default"}, {"layers"}});
  for (const TapRow& row : rows) {
    table.add({row.glob, fmt::format("[{}]", fmt::join(axes(row), ", ")),
               row.by_default ? "yes" : "", layers_text(row.layers)});
  }
  print(table.text());
  return 0;
}

}  // namespace assay

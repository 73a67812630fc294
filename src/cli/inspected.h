// What inspect finds at a path: a file of arrays, or a directory of one of several kinds.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace assay {

struct InspectedFile {
  std::filesystem::path path;
  std::string name;         // relative to the directory that was given
  std::string prompt = {};  // an id, or empty
  std::string role = {};    // "reference", "oracle", "dump"; empty if it is the only one
};

struct Inspected {
  // "arrays": a single file, or a directory that is one set of arrays. "checkpoint": the same with
  // a config.json. "reference", "dumps": files for each prompt.
  std::string kind;
  std::string summary;           // lines for people, or empty
  nlohmann::ordered_json about;  // the summary as data; null for arrays and dumps
  std::vector<InspectedFile> files;

  bool is_set() const { return kind == "reference" || kind == "dumps"; }
};

// Throws input errors: nothing there, a damaged manifest, a directory without arrays.
Inspected inspected(const std::filesystem::path& path);

}  // namespace assay

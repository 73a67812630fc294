// Profiles: the error limits of each tap.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "assay/comparison.h"

namespace assay {

class Profile {
 public:
  // "table", "noise", or a JSON file:
  //   {"name": "mine", "rules": [{"taps": "layer_0?_*", "mse": 1e-5, "cosine": 0.999}, ...]}
  // The first rule whose glob matches a tap counts. has_oracle: without an oracle, noise can only
  // limit the relative L2 distance from the reference.
  Profile(const std::string& name_or_file, bool has_oracle);
  // Judges every tap by its relative L2 distance from the reference.
  explicit Profile(double tolerance);

  const std::string& name() const { return name_; }
  // What a pass means, in a sentence.
  const std::string& statement() const { return statement_; }
  // None if no rule matches: then the tap cannot pass.
  std::optional<Limits> limits(std::string_view tap) const;

 private:
  struct Rule {
    std::string glob;
    Limits limits;
  };
  void read(const std::string& file);

  std::string name_;
  std::string statement_;
  std::vector<Rule> rules_;
};

// Sets verdict and reason of a tensor that was measured.
void judge(TensorResult& tensor, const Profile& profile);

}  // namespace assay

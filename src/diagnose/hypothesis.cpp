#include "diagnose/hypothesis.h"

#include <algorithm>
#include <iterator>

#include "rewrite/edit.h"

namespace assay {

void apply_in(std::span<const std::int64_t> layers, const Change& change, Hypothesis& hypothesis) {
  if (layers.empty()) return change(hypothesis);
  Hypothesis whole = hypothesis;
  change(whole);
  Program& program = hypothesis.program;
  // Append the changed tables; the other layers keep theirs.
  const std::size_t tables = program.ropes.size();
  const bool other_tables = whole.program.ropes != program.ropes;
  if (other_tables) {
    program.ropes.insert(program.ropes.end(), whole.program.ropes.begin(),
                         whole.program.ropes.end());
  }
  for (const std::int64_t l : layers) {
    Block& block = program.layers.at(static_cast<std::size_t>(l));
    block = whole.program.layers.at(static_cast<std::size_t>(l));
    if (!other_tables) continue;
    change_each<OddRotate>(block, [&](OddRotate& odd, const Step&) { odd.rotate.table += tables; });
  }
  for (std::size_t i = hypothesis.weights.size(); i < whole.weights.size(); ++i) {
    WeightChange change_there = whole.weights[i];
    std::vector<std::int64_t> there;
    std::ranges::copy_if(layers, std::back_inserter(there), [&](std::int64_t l) {
      return change_there.layers.empty() || std::ranges::count(change_there.layers, l) > 0;
    });
    if (there.empty()) continue;
    change_there.layers = std::move(there);
    hypothesis.weights.push_back(std::move(change_there));
  }
  hypothesis.held = whole.held;
}

}  // namespace assay

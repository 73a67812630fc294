#include "diagnose/hypothesis.h"

#include <algorithm>
#include <iterator>

#include "rewrite/edit.h"

namespace assay {
namespace {

// Appends what `whole` has in addition to `to`, which it begins with, restricted to these layers.
template <class Changes>
void add_there(std::span<const std::int64_t> layers, const Changes& whole, Changes& to) {
  for (std::size_t i = to.size(); i < whole.size(); ++i) {
    auto one = whole[i];
    std::vector<std::int64_t> there;
    std::ranges::copy_if(layers, std::back_inserter(there), [&](std::int64_t l) {
      return one.layers.empty() || std::ranges::count(one.layers, l) > 0;
    });
    if (there.empty()) continue;
    one.layers = std::move(there);
    to.push_back(std::move(one));
  }
}

}  // namespace

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
  add_there(layers, whole.weights, hypothesis.weights);
  add_there(layers, whole.held, hypothesis.held);
}

}  // namespace assay

#include "verify/recording.h"

#include <fmt/format.h>

#include "assay/error.h"
#include "base/text.h"
#include "base/widen.h"
#include "formats/npz_writer.h"

namespace assay {
namespace {

bool is_for_numpy(DType dtype) {
  return dtype != DType::kBF16 && dtype != DType::kF8E4M3 && dtype != DType::kF8E5M2;
}

Array kept(const ArrayView& array) {
  Array copy{array.name, array.dtype, array.shape, {}};
  if (is_for_numpy(array.dtype)) {
    copy.bytes.assign(array.bytes.begin(), array.bytes.end());
    return copy;
  }
  const std::size_t item = dtype_size(array.dtype);
  copy.dtype = DType::kF32;
  copy.bytes.resize(array.bytes.size() / item * sizeof(float));
  widen(array.dtype, array.bytes.data(), static_cast<std::ptrdiff_t>(item), copy.as<float>());
  return copy;
}

}  // namespace

// If anything throws, the recording stays as it was.
void Recording::add(const ArrayView& array, const std::optional<Positions>& positions) {
  expect_npz_name(array.name);
  const auto found = entries_.find(array.name);
  const bool is_new = found == entries_.end();
  // Only the next piece continues a known array.
  if (!is_new &&
      (!positions || positions->first != found->second.next || found->second.counts.empty())) {
    return;
  }
  Entry entry;
  entry.pieces.push_back(kept(array));
  if (positions) {
    entry.counts.push_back(positions->count);
    entry.next = positions->first + positions->count;
  }
  if (is_new) {
    order_.push_back(array.name);
    try {
      entries_.emplace(array.name, std::move(entry));
    } catch (...) {
      order_.pop_back();
      throw;
    }
    return;
  }
  Entry& known = found->second;
  known.pieces.reserve(known.pieces.size() + 1);
  known.counts.push_back(entry.counts.front());
  known.pieces.push_back(std::move(entry.pieces.front()));
  known.next = entry.next;
}

void Recording::write(const std::filesystem::path& path) const {
  std::vector<Array> arrays;
  std::vector<ArrayView> views;
  arrays.reserve(order_.size());
  // An array that cannot be joined must not prevent writing the others.
  std::optional<Error> problem;
  for (const std::string& name : order_) {
    const Entry& entry = entries_.at(name);
    try {
      arrays.push_back(
          join_positions(entry.pieces, entry.counts,
                         fmt::format("{}: array '{}', not written", path.string(), shown(name))));
      views.push_back(arrays.back().view());
    } catch (const Error& error) {
      if (!problem) problem = error;
    }
  }
  write_npz(path, views);
  if (problem) throw *problem;
}

}  // namespace assay

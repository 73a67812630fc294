// One .npz of a prompt, written while the model computes.
#pragma once

#include <deque>
#include <filesystem>
#include <functional>

#include "base/background.h"
#include "formats/npz_writer.h"
#include "reference/manifest.h"

namespace assay {

class PromptFile {
 public:
  // Fills in what the manifest records beyond name, dtype and shape. Called from any thread.
  using Measure = std::function<void(const ArrayView& array, ArrayRecord& record)>;

  // `background` must outlive this object, or be finished before.
  PromptFile(Background& background, const std::filesystem::path& path, Compression compression,
             Measure measure);

  // Compresses, writes and measures the array in the background. Throws what write_npz throws for
  // an array, and what the background throws.
  void add(Array array);
  // Call this after the last array. The file is complete once the background has finished.
  void close() { npz_.close(); }

  // The records in file order, complete once the background has finished.
  const std::deque<ArrayRecord>& records() const { return records_; }

 private:
  Background& background_;
  NpzWriter npz_;
  Measure measure_;
  std::deque<ArrayRecord> records_;  // a deque does not move its elements when it grows
};

}  // namespace assay

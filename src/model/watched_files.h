// Whether a checkpoint's files stayed as they were while it was used.
#pragma once

#include <filesystem>
#include <map>

#include "base/mapped_file.h"

namespace assay {

class WatchedFiles {
 public:
  // checkpoint: a directory, whose files are looked at, or one of its files. Before anything is
  // read.
  explicit WatchedFiles(const std::filesystem::path& checkpoint);

  // Throws an input error where the file has another size, time of change (mtime) or inode than
  // then, or is gone.
  void expect_unchanged(const std::filesystem::path& file) const;

 private:
  std::map<std::filesystem::path, FileState> states_;  // by file name
};

}  // namespace assay

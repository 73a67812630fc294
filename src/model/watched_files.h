// Checks that a checkpoint's files did not change while they were used.
#pragma once

#include <filesystem>
#include <map>

#include "base/mapped_file.h"

namespace assay {

class WatchedFiles {
 public:
  // checkpoint: a directory, whose files are watched, or one of its files. Create it before
  // anything is read.
  explicit WatchedFiles(const std::filesystem::path& checkpoint);

  // Throws an input error if the file's size, modification time (mtime) or inode has changed since
  // then, or it is gone.
  void expect_unchanged(const std::filesystem::path& file) const;

 private:
  std::map<std::filesystem::path, FileState> states_;  // by file name
};

}  // namespace assay

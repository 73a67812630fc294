#include "model/watched_files.h"

#include <optional>
#include <system_error>

#include "assay/error.h"
#include "base/directory.h"

namespace assay {
namespace fs = std::filesystem;

WatchedFiles::WatchedFiles(const fs::path& checkpoint) {
  std::error_code error;
  fs::path directory = fs::is_directory(checkpoint, error) ? checkpoint : checkpoint.parent_path();
  if (directory.empty()) directory = ".";
  for (const fs::path& path : paths_in(directory)) {
    const std::optional<FileState> state = state_of(path);
    if (state) states_.emplace(path.filename(), *state);
  }
}

void WatchedFiles::expect_unchanged(const fs::path& file) const {
  const auto before = states_.find(file.filename());
  const std::optional<FileState> now = state_of(file);
  // ctime is not compared, because a new link to the file changes it.
  const bool is_same = before != states_.end() && now && now->size == before->second.size &&
                       now->mtime == before->second.mtime && now->inode == before->second.inode;
  if (is_same) return;
  throw input_error(file.string(), "changed while it was read",
                    "a checkpoint that does not change while it is read");
}

}  // namespace assay

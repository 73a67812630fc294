// Files of one run that belong together: none gets its final name before all are complete.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "assay/error.h"

namespace assay {

// A run writes into staging(), a hidden directory (".partial-PID-N") within the output directory;
// publish() renames all of it into place. Until then, an earlier set stays complete. The directory
// is locked (flock), so only one run at a time writes to it, and leftovers of killed runs are
// removed; on file systems without locks neither happens. Every failure is a system error that
// names the final path.
class OutputSet {
 public:
  // marker: the file whose absence shows that the set is unfinished. It is removed first and put in
  // place last. Throws when another run holds the directory, and tells which.
  OutputSet(std::filesystem::path directory, std::string marker);
  // Removes what was not published.
  ~OutputSet();
  OutputSet(const OutputSet&) = delete;
  OutputSet& operator=(const OutputSet&) = delete;

  const std::filesystem::path& staging() const { return staging_; }
  // Creates staging() / name, a future subdirectory of the output directory. Throws when something
  // else has that name there.
  void create_directory(std::string_view name) const;
  // stale: files of an earlier set that would not belong to this set.
  void publish(const std::vector<std::string>& stale = {});
  // The error, with the final path in place of the path in staging().
  Error as_of_final_path(const Error& error) const;

 private:
  void lock();
  void move_into_place(const std::filesystem::path& name) const;

  std::filesystem::path directory_;
  std::filesystem::path staging_;
  std::string marker_;
  int lock_ = -1;
  int slot_ = -1;
};

}  // namespace assay

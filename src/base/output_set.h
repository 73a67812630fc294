// Files of one run that belong together: none stands under its name before all are there.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "assay/error.h"

namespace assay {

// A run writes into staging(), a hidden directory within the one that is to be filled
// (".partial-PID-N"); publish() renames all of it into place. What stood there before stays whole
// until then. One run at a time: the directory is locked (flock), and what killed runs left is
// removed; neither where its file system has no locks. Every failure is a system error that names
// the final path.
class OutputSet {
 public:
  // marker: the file without which the set is known to be unfinished; removed first, and put in
  // place last. Throws where another run holds the directory, and says which.
  OutputSet(std::filesystem::path directory, std::string marker);
  // Removes what was not published.
  ~OutputSet();
  OutputSet(const OutputSet&) = delete;
  OutputSet& operator=(const OutputSet&) = delete;

  const std::filesystem::path& staging() const { return staging_; }
  // Creates staging() / name, which will stand below the directory. Throws where something else
  // stands there.
  void create_directory(std::string_view name) const;
  // stale: files of the directory that go with no set of this kind.
  void publish(const std::vector<std::string>& stale = {});
  // The error, with the final path for the one in staging().
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

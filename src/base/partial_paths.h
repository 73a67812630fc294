// Unfinished files and directories that there are, for the handler of signals to remove.
#pragma once

#include <csignal>
#include <filesystem>

namespace assay {

// While one is created and remembered: the handler waits for other threads, and cannot come to this
// one.
class PartialCreation {
 public:
  PartialCreation();
  ~PartialCreation();
  PartialCreation(const PartialCreation&) = delete;
  PartialCreation& operator=(const PartialCreation&) = delete;

 private:
  sigset_t before_;
};

// A file, or a directory with all that is in it. Returns its slot; below 0 where all are taken.
int remember_partial(const std::filesystem::path& path);
void forget_partial(int slot);

// Makes SIGINT, SIGTERM, SIGHUP and SIGPIPE (those that are not ignored) remove the partial files
// before they end the process, and a file above the size limit (SIGXFSZ) an error like a full disk.
void remove_partial_files_on_signals();

// Makes the loss of a mapped file's bytes (SIGBUS: it was cut short, or its disk is gone) remove
// the partial files and end the process with a message that names the file, and exit code 3. For a
// program; a library leaves its process's signals alone.
void end_with_message_when_a_mapped_file_is_lost();

// Says that memory is out, without taking any.
void say_out_of_memory();

// Makes an exception about memory that nobody can catch (it came up while values were taken down,
// or while another error was reported) remove the partial files and end the process with a message
// and exit code 4. For a program, as above.
void end_with_message_when_memory_is_out();

}  // namespace assay

// The unfinished files and directories, which the signal handler removes.
#pragma once

#include <csignal>
#include <filesystem>

namespace assay {

// Held while an unfinished file is created and remembered: the signal handler waits for other
// threads, and cannot interrupt this one.
class PartialCreation {
 public:
  PartialCreation();
  ~PartialCreation();
  PartialCreation(const PartialCreation&) = delete;
  PartialCreation& operator=(const PartialCreation&) = delete;

 private:
  sigset_t before_;
};

// Remembers a file, or a directory with its contents. Returns its slot, or a negative number if all
// slots are taken.
int remember_partial(const std::filesystem::path& path);
void forget_partial(int slot);

// Makes SIGINT, SIGTERM, SIGHUP and SIGPIPE (those that are not ignored) remove the partial files
// before they end the process, and a file above the size limit (SIGXFSZ) an error like a full disk.
void remove_partial_files_on_signals();

// On the loss of a mapped file's bytes (SIGBUS: the file was truncated, or its disk is gone),
// removes the partial files and ends the process with a message that names the file, and exit
// code 3. Only for programs: a library must leave the process's signals alone.
void end_with_message_when_a_mapped_file_is_lost();

// Prints that memory has run out, without allocating any.
void say_out_of_memory();

// When memory runs out where no exception can be caught (during stack unwinding, or while another
// error is reported), removes the partial files and ends the process with a message and exit
// code 4. Only for programs, as above.
void end_with_message_when_memory_is_out();

}  // namespace assay

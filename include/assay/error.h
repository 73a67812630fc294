// Errors of every module: what went wrong, where, and what was expected instead.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace assay {

// Who can fix it. The numbers are the program's exit codes.
enum class ErrorKind {
  kCheckFailed = 1,  // the answer is no: a divergence, a failed doctor
  kUsage = 2,        // wrong command line
  kInput = 3,        // a file or a value in it is not what it should be
  kSystem = 4,       // disk full, out of memory, permission denied while writing
};

// Thrown at the edges (files, arguments). Carries its parts, so that a caller can print or store
// them; what() is the finished sentence "where: found; expected ...".
class Error : public std::runtime_error {
 public:
  // where: file, tensor or field, e.g. "config.json: field 'head_dim'".
  // found: the actual value. expected: the right one; empty when nothing useful can be said.
  // They may contain text from files: control characters are kept as visible escapes.
  Error(ErrorKind kind, std::string_view where, std::string_view found,
        std::string_view expected = {});

  ErrorKind kind() const noexcept { return kind_; }
  const std::string& where() const noexcept { return where_; }
  const std::string& found() const noexcept { return found_; }
  const std::string& expected() const noexcept { return expected_; }

 private:
  ErrorKind kind_;
  std::string where_;
  std::string found_;
  std::string expected_;
};

// An Error of kind kInput / kUsage.
Error input_error(std::string_view where, std::string_view found, std::string_view expected = {});
Error usage_error(std::string_view where, std::string_view found, std::string_view expected = {});

// An Error of kind kSystem; appends the text of `error_number` (an errno value) when it is not 0.
Error system_error(std::string_view where, std::string_view found, int error_number = 0);

}  // namespace assay

#include "assay/error.h"

#include <cstring>

#include "base/text.h"

namespace assay {
namespace {

std::string sentence(std::string_view where, std::string_view found, std::string_view expected) {
  std::string text;
  if (!where.empty()) text.append(where).append(": ");
  text.append(found);
  if (!expected.empty()) text.append("; expected ").append(expected);
  return text;
}

}  // namespace

Error::Error(ErrorKind kind, std::string_view where, std::string_view found,
             std::string_view expected)
    : std::runtime_error(sentence(visible(where), visible(found), visible(expected))),
      kind_(kind),
      where_(visible(where)),
      found_(visible(found)),
      expected_(visible(expected)) {}

Error input_error(std::string_view where, std::string_view found, std::string_view expected) {
  return Error(ErrorKind::kInput, where, found, expected);
}

Error usage_error(std::string_view where, std::string_view found, std::string_view expected) {
  return Error(ErrorKind::kUsage, where, found, expected);
}

Error system_error(std::string_view where, std::string_view found, int error_number) {
  std::string text(found);
  if (error_number != 0) text.append(": ").append(std::strerror(error_number));
  return Error(ErrorKind::kSystem, where, text);
}

}  // namespace assay

// The error for a text that simdjson could not parse.
#pragma once

#include <fmt/format.h>
#include <simdjson.h>

#include <new>
#include <string_view>

#include "assay/error.h"

namespace assay {

// Throws an input error that names the fault, or std::bad_alloc when memory ran out, which is not
// the text's fault.
inline void expect_parsed(simdjson::error_code error, std::string_view where,
                          std::string_view expected) {
  if (error == simdjson::SUCCESS) return;
  if (error == simdjson::MEMALLOC) throw std::bad_alloc();
  throw input_error(where, fmt::format("not valid JSON ({})", simdjson::error_message(error)),
                    expected);
}

}  // namespace assay

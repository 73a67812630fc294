// What simdjson says of a text that it could not parse.
#pragma once

#include <fmt/format.h>
#include <simdjson.h>

#include <new>
#include <string_view>

#include "assay/error.h"

namespace assay {

// Throws an input error that names the fault; std::bad_alloc where memory failed, of which the text
// is not guilty.
inline void expect_parsed(simdjson::error_code error, std::string_view where,
                          std::string_view expected) {
  if (error == simdjson::SUCCESS) return;
  if (error == simdjson::MEMALLOC) throw std::bad_alloc();
  throw input_error(where, fmt::format("not valid JSON ({})", simdjson::error_message(error)),
                    expected);
}

}  // namespace assay

// Checks that a call fails as promised: the kind (exit code), and what the message says.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <string_view>

#include "assay/error.h"

namespace assay {

template <class Call>
void expect_error(ErrorKind kind, std::initializer_list<std::string_view> parts, Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(error.kind(), kind) << message;
    for (const std::string_view part : parts) {
      EXPECT_NE(message.find(part), std::string::npos) << "no '" << part << "' in: " << message;
    }
    EXPECT_EQ(message.find('\n'), std::string::npos) << "more than one line: " << message;
    EXPECT_LT(message.size(), 1000u) << message;
    return;
  } catch (const std::exception& error) {
    FAIL() << "another exception: " << error.what();
  }
  std::string wanted;
  for (const std::string_view part : parts) wanted.append(" '").append(part).append("'");
  FAIL() << "no error; expected one with" << wanted;
}

}  // namespace assay

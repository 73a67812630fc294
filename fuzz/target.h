// What the targets share: how one is declared, what may come out of it, bytes as choices.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "assay/error.h"
#include "base/temporary_directory.h"

namespace assay {

using Target = void (*)(std::span<const std::byte>);

// One target a source file: FUZZ_TARGET(npz) { ... `input` ... }. libFuzzer wants a function of a
// fixed name; the program that runs old inputs in every test run has all targets in it, by name.
#ifdef ASSAY_FUZZ_REGRESSIONS
bool add_target(std::string_view name, Target target);
#define FUZZ_TARGET(name)                                                        \
  static void fuzz_##name(std::span<const std::byte> input);                     \
  static const bool fuzz_##name##_added = assay::add_target(#name, fuzz_##name); \
  static void fuzz_##name([[maybe_unused]] std::span<const std::byte> input)
#else
#define FUZZ_TARGET(name)                                                             \
  static void fuzz_##name(std::span<const std::byte> input);                          \
  extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) { \
    fuzz_##name(std::as_bytes(std::span(data, size)));                                \
    return 0;                                                                         \
  }                                                                                   \
  static void fuzz_##name([[maybe_unused]] std::span<const std::byte> input)
#endif

// Whether `run` takes its input. It may refuse it by an input error, or one of the other kind named
// here; whatever else it throws ends the program.
template <class Run>
bool accepts(const Run& run, ErrorKind also = ErrorKind::kInput) {
  try {
    run();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kInput && error.kind() != also) throw;
    return false;
  }
  return true;
}

// Ends the program unless `holds`.
inline void require(bool holds, std::string_view what) {
  if (holds) return;
  ::dprintf(2, "does not hold: %.*s\n", static_cast<int>(what.size()), what.data());
  std::abort();
}

inline std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Where a target keeps files that must have a name; removed at the end of the program.
inline const TemporaryDirectory& scratch() {
  static const TemporaryDirectory directory;
  return directory;
}

// Writes such a file.
inline std::filesystem::path scratch_file(std::string_view name, std::span<const std::byte> bytes) {
  const std::filesystem::path path = scratch() / name;
  write_text(path, text_of(bytes));
  return path;
}

// Bytes read as decisions; after their end everything is 0.
class Choices {
 public:
  explicit Choices(std::span<const std::byte> bytes) : rest_(bytes) {}

  bool empty() const { return rest_.empty(); }

  template <class T>
  T take() {
    static_assert(std::is_trivially_copyable_v<T>);
    std::array<std::byte, sizeof(T)> raw = {};
    const std::span<const std::byte> found = bytes(sizeof(T));
    std::copy(found.begin(), found.end(), raw.begin());
    T value;
    std::memcpy(&value, raw.data(), sizeof(T));
    return value;
  }
  std::uint8_t byte() { return take<std::uint8_t>(); }
  bool flag() { return (byte() & 1) != 0; }
  // In [0, end), end at most 65536.
  std::size_t below(std::size_t end) {
    return (end > 256 ? take<std::uint16_t>() : std::size_t{byte()}) % end;
  }
  template <class List>
  const auto& one_of(const List& list) {
    return list[below(std::size(list))];
  }
  // At most so many.
  std::span<const std::byte> bytes(std::size_t most) {
    const std::span<const std::byte> taken = rest_.first(std::min(most, rest_.size()));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }
  std::string text(std::size_t most) { return std::string(text_of(bytes(most))); }
  std::span<const std::byte> rest() const { return rest_; }

 private:
  std::span<const std::byte> rest_;
};

}  // namespace assay

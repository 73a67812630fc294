// Builds GGUF files, valid and invalid ones.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/gguf_quants.h"

namespace assay {

class GgufBuilder {
 public:
  template <class T>
  static std::string number(T value) {
    std::string bytes(sizeof(T), '\0');
    std::memcpy(bytes.data(), &value, sizeof(T));
    return bytes;
  }
  static std::string string(std::string_view text) {
    return number<std::uint64_t>(text.size()) + std::string(text);
  }

  // A key with the value's raw bytes.
  GgufBuilder& raw(std::string_view key, std::uint32_t type, std::string_view value) {
    keys_ += string(key) + number(type) + std::string(value);
    ++key_count_;
    return *this;
  }
  GgufBuilder& u32(std::string_view key, std::uint32_t value) { return raw(key, 4, number(value)); }
  GgufBuilder& f32(std::string_view key, float value) { return raw(key, 6, number(value)); }
  GgufBuilder& boolean(std::string_view key, bool value) {
    return raw(key, 7, number<std::uint8_t>(value ? 1 : 0));
  }
  GgufBuilder& text(std::string_view key, std::string_view value) {
    return raw(key, 8, string(value));
  }
  GgufBuilder& texts(std::string_view key, const std::vector<std::string>& values) {
    std::string list = number<std::uint32_t>(8) + number<std::uint64_t>(values.size());
    for (const std::string& value : values) list += string(value);
    return raw(key, 9, list);
  }
  // type 5: I32, 6: F32
  template <class T>
  GgufBuilder& numbers(std::string_view key, std::uint32_t type, const std::vector<T>& values) {
    std::string list = number(type) + number<std::uint64_t>(values.size());
    for (const T value : values) list += number(value);
    return raw(key, 9, list);
  }

  // shape: slowest axis first; the data padded to 32 bytes.
  GgufBuilder& tensor(std::string_view name, const std::vector<std::uint64_t>& shape, GgmlType type,
                      std::string_view data) {
    return info(name, shape, static_cast<std::uint32_t>(type), data_.size()).data(data);
  }
  GgufBuilder& f32_tensor(std::string_view name, const std::vector<std::uint64_t>& shape,
                          std::span<const float> values) {
    return tensor(name, shape, GgmlType::kF32,
                  {reinterpret_cast<const char*>(values.data()), values.size_bytes()});
  }
  // Elements 0, 1, 2, ...
  GgufBuilder& counting(std::string_view name, const std::vector<std::uint64_t>& shape) {
    std::uint64_t count = 1;
    for (const std::uint64_t size : shape) count *= size;
    std::vector<float> values;
    for (std::uint64_t i = 0; i < count; ++i) values.push_back(static_cast<float>(i));
    return f32_tensor(name, shape, values);
  }
  GgufBuilder& info(std::string_view name, const std::vector<std::uint64_t>& shape,
                    std::uint32_t type, std::uint64_t offset) {
    infos_ += string(name) + number(static_cast<std::uint32_t>(shape.size()));
    for (std::size_t i = shape.size(); i-- > 0;) infos_ += number(shape[i]);
    infos_ += number(type) + number(offset);
    ++tensor_count_;
    return *this;
  }
  GgufBuilder& data(std::string_view bytes) {
    data_ += bytes;
    data_.resize((data_.size() + 31) / 32 * 32);
    return *this;
  }

  std::string bytes(std::uint32_t version = 3) const {
    std::string file =
        "GGUF" + number(version) + number(tensor_count_) + number(key_count_) + keys_ + infos_;
    file.resize((file.size() + 31) / 32 * 32);
    return file + data_;
  }

 private:
  std::string keys_, infos_, data_;
  std::uint64_t key_count_ = 0;
  std::uint64_t tensor_count_ = 0;
};

}  // namespace assay

// What Assay reads in the .npz and .npy files whose paths come on standard input, for
// numpy_files.py. An answer a line of input, little-endian:
//   text     u32 length, bytes
//   file     'A', u32 arrays, each a text (its name) and an array;  or 'R', a text (why refused)
//   array    'A', a text (dtype), u32 axes, i64 each, u64 bytes, elements;  or 'R', a text
// An error of another kind than a bad input ends it.
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <span>
#include <string>
#include <string_view>

#include "assay/error.h"
#include "assay/npz.h"

namespace assay {
namespace {

template <class T>
void put(std::string& out, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    out += static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i) & 0xFF);
  }
}

void put_text(std::string& out, std::string_view text) {
  put(out, static_cast<std::uint32_t>(text.size()));
  out += text;
}

// What `write` appends to `out`, or why it cannot.
template <class Write>
void put_or_refuse(std::string& out, const Write& write) {
  const std::size_t before = out.size();
  try {
    write();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kInput) throw;
    out.resize(before);
    out += 'R';
    put_text(out, error.what());
  }
}

void put_array(std::string& out, const Array& array) {
  out += 'A';
  put_text(out, dtype_name(array.dtype));
  put(out, static_cast<std::uint32_t>(array.shape.size()));
  for (const std::int64_t axis : array.shape) put(out, axis);
  put(out, std::uint64_t{array.bytes.size()});
  out.append(reinterpret_cast<const char*>(array.bytes.data()), array.bytes.size());
}

void put_file(std::string& out, const std::string& path) {
  put_or_refuse(out, [&] {
    if (path.ends_with(".npy")) {
      const Array array = read_npy(path);
      out += 'A';
      put(out, std::uint32_t{1});
      put_text(out, "");
      put_array(out, array);
      return;
    }
    const NpzReader npz(path);
    out += 'A';
    put(out, static_cast<std::uint32_t>(npz.names().size()));
    for (const std::string& name : npz.names()) {
      put_text(out, name);
      put_or_refuse(out, [&] { put_array(out, npz.read(name)); });
    }
  });
}

}  // namespace
}  // namespace assay

int main() {
  for (std::string path; std::getline(std::cin, path);) {
    std::string out;
    assay::put_file(out, path);
    if (std::fwrite(out.data(), 1, out.size(), stdout) != out.size()) return 1;
    std::fflush(stdout);
  }
  return 0;
}

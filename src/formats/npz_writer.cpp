#include "formats/npz_writer.h"

#include <fmt/format.h>
#include <libdeflate.h>
#include <simdjson.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <set>

#include "assay/error.h"
#include "base/aligned_vector.h"
#include "base/atomic_file.h"
#include "base/text.h"
#include "base/thread_pool.h"
#include "formats/npy.h"
#include "formats/zip.h"

namespace assay {
namespace {

// zip has two bytes for the length; ".npy" is added.
constexpr std::size_t kMaxName = 60000;

// libdeflate's level 1 is as small as zlib's 6 on activations that were BF16, at many times its
// speed; level 6 takes a few per cent more off.
int level_of(Compression compression) { return compression == Compression::kSmall ? 6 : 1; }

struct FreeCompressor {
  void operator()(libdeflate_compressor* c) const { libdeflate_free_compressor(c); }
};
using Compressor = std::unique_ptr<libdeflate_compressor, FreeCompressor>;

struct Encoded {
  ZipMember member;
  std::string header;                 // npy header, as it goes to the file
  std::span<const std::byte> data;    // the elements, deflated or as they are
  std::shared_ptr<const void> owner;  // of data, where it is held until its turn
};

// A stored deflate block that is not the last one. It ends at a whole byte, so that the elements'
// own stream can follow: libdeflate takes only one piece of input, and copying a tensor after its
// header would double the memory.
std::string stored_block(std::string_view text) {
  std::string block(1, '\0');
  for (const std::size_t value : {text.size(), ~text.size()}) {
    block += static_cast<char>(value & 0xFF);
    block += static_cast<char>(value >> 8 & 0xFF);
  }
  return block.append(text);
}

// What a thread needs to deflate one array after the other: fresh memory for each would cost as
// much as the work.
struct Deflater {
  Compressor compressor;
  int level = 0;
  AlignedVector<std::byte> out;

  std::span<const std::byte> deflate(std::span<const std::byte> bytes, int with_level) {
    if (level != with_level) compressor.reset(libdeflate_alloc_compressor(with_level));
    if (!compressor) throw std::bad_alloc();
    level = with_level;
    const std::size_t bound = libdeflate_deflate_compress_bound(compressor.get(), bytes.size());
    if (out.size() < bound) out.resize(bound);
    return {out.data(), libdeflate_deflate_compress(compressor.get(), bytes.data(), bytes.size(),
                                                    out.data(), bound)};
  }
  // A thread may live much longer than its largest array.
  void trim() {
    if (out.size() > kKeep) out = {};
  }

 private:
  static constexpr std::size_t kKeep = std::size_t{32} << 20;
};

// The elements lie in `array` or in the deflater.
Encoded encode(const ArrayView& array, Compression compression, Deflater& deflater) {
  Encoded e;
  e.header = npy_header(array);
  e.member.name = array.name + ".npy";
  e.member.size = e.header.size() + array.bytes.size();
  e.member.crc32 = libdeflate_crc32(0, e.header.data(), e.header.size());
  if (!array.bytes.empty()) {  // a null pointer would restart the CRC
    e.member.crc32 = libdeflate_crc32(e.member.crc32, array.bytes.data(), array.bytes.size());
  }
  if (compression == Compression::kNone) {
    e.data = array.bytes;
  } else {
    e.data = deflater.deflate(array.bytes, level_of(compression));
    e.header = stored_block(e.header);
    e.member.method = ZipMethod::kDeflated;
  }
  e.member.compressed_size = e.header.size() + e.data.size();
  return e;
}

// Throws unless the array can be a member next to those named so far.
void check(const ArrayView& array, std::set<std::string, std::less<>>& names) {
  expect_npz_name(array.name);
  const std::string where = "array '" + shown(array.name) + "'";
  if (!names.insert(array.name).second) throw input_error(where, "given twice", "unique names");
  static_cast<void>(npy_header(array));  // dtype, shape and bytes, before a file is made
}

}  // namespace

void expect_npz_name(std::string_view name) {
  const auto where = [&] { return "array '" + shown(name) + "'"; };
  if (name.empty() || name.size() > kMaxName) {
    throw input_error(where(), fmt::format("a name of {} bytes", name.size()),
                      fmt::format("1 to {}", kMaxName));
  }
  if (name.find('\0') != std::string_view::npos ||
      !simdjson::validate_utf8(name.data(), name.size())) {
    throw input_error(where(), "a name that is not UTF-8", "UTF-8");
  }
}

struct NpzWriter::Impl {
  Impl(const std::filesystem::path& path, Compression with) : compression(with), file(path) {}

  // State of the member that is being written.
  void write(const Encoded& e) {
    ZipMember member = e.member;
    member.header_offset = file.size();
    const std::string header = zip_local_header(member);
    file.write(std::as_bytes(std::span(header)));
    file.write(std::as_bytes(std::span(e.header)));
    file.write(e.data);
    members.push_back(std::move(member));
  }

  void complete_if_done() {
    if (!closed || members.size() != names.size()) return;
    const std::string directory = zip_directory(members, file.size());
    file.write(std::as_bytes(std::span(directory)));
    file.commit();
  }

  const Compression compression;
  std::set<std::string, std::less<>> names;
  std::mutex mutex;
  AtomicFile file;
  std::vector<ZipMember> members;          // written
  std::map<std::size_t, Encoded> waiting;  // for their turn, by place
  bool closed = false;
};

NpzWriter::NpzWriter(const std::filesystem::path& path, Compression compression)
    : impl_(std::make_unique<Impl>(path, compression)) {}

NpzWriter::~NpzWriter() = default;

std::size_t NpzWriter::reserve(const ArrayView& array) {
  const std::lock_guard lock(impl_->mutex);
  check(array, impl_->names);
  return impl_->names.size() - 1;
}

void NpzWriter::put(std::size_t place, const ArrayView& array, std::shared_ptr<const void> owner) {
  thread_local Deflater deflater;
  Encoded encoded = encode(array, impl_->compression, deflater);
  const std::lock_guard lock(impl_->mutex);
  if (place != impl_->members.size()) {
    if (encoded.member.method == ZipMethod::kDeflated) {
      const auto copy =
          std::make_shared<const std::vector<std::byte>>(encoded.data.begin(), encoded.data.end());
      encoded.data = *copy;
      encoded.owner = copy;
    } else {
      encoded.owner = std::move(owner);
    }
    impl_->waiting.emplace(place, std::move(encoded));
    deflater.trim();
    return;
  }
  impl_->write(encoded);
  deflater.trim();
  for (auto next = impl_->waiting.begin();
       next != impl_->waiting.end() && next->first == impl_->members.size();
       next = impl_->waiting.erase(next)) {
    impl_->write(next->second);
  }
  impl_->complete_if_done();
}

void NpzWriter::close() {
  const std::lock_guard lock(impl_->mutex);
  impl_->closed = true;
  impl_->complete_if_done();
}

void write_npz(const std::filesystem::path& path, std::span<const ArrayView> arrays,
               Compression compression, int threads) {
  std::set<std::string, std::less<>> names;
  for (const ArrayView& array : arrays) check(array, names);
  ThreadPool pool(threads);
  NpzWriter file(path, compression);
  for (const ArrayView& array : arrays) file.reserve(array);
  file.close();
  std::atomic<bool> failed{false};
  pool.for_each_item(arrays.size(), [&](std::size_t i) {
    if (failed) return;
    try {
      file.put(i, arrays[i]);
    } catch (...) {
      failed = true;
      throw;
    }
  });
}

}  // namespace assay

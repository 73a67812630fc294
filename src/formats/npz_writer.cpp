#include <fmt/format.h>
#include <libdeflate.h>
#include <simdjson.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <set>

#include "assay/error.h"
#include "assay/npz.h"
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
  std::unique_ptr<std::byte[]> data;  // deflated elements
  std::size_t data_size = 0;
};

// A stored deflate block that is not the last one. It ends at a whole byte, so that the elements'
// own stream can follow: libdeflate takes only one piece of input, and copying a tensor behind its
// header would double the memory.
std::string stored_block(std::string_view text) {
  std::string block(1, '\0');
  for (const std::size_t value : {text.size(), ~text.size()}) {
    block += static_cast<char>(value & 0xFF);
    block += static_cast<char>(value >> 8 & 0xFF);
  }
  return block.append(text);
}

Encoded encode(const ArrayView& array, Compression compression, Compressor& compressor) {
  Encoded e;
  e.header = npy_header(array);
  e.member.name = array.name + ".npy";
  e.member.size = e.header.size() + array.bytes.size();
  e.member.crc32 = libdeflate_crc32(0, e.header.data(), e.header.size());
  if (!array.bytes.empty()) {  // a null pointer would start the CRC anew
    e.member.crc32 = libdeflate_crc32(e.member.crc32, array.bytes.data(), array.bytes.size());
  }
  if (compression == Compression::kNone) {
    e.member.compressed_size = e.member.size;
    return e;
  }
  if (!compressor) compressor.reset(libdeflate_alloc_compressor(level_of(compression)));
  if (!compressor) throw std::bad_alloc();
  const std::size_t bound = libdeflate_deflate_compress_bound(compressor.get(), array.bytes.size());
  e.data = std::make_unique_for_overwrite<std::byte[]>(bound);
  e.data_size = libdeflate_deflate_compress(compressor.get(), array.bytes.data(),
                                            array.bytes.size(), e.data.get(), bound);
  e.header = stored_block(e.header);
  e.member.method = ZipMethod::kDeflated;
  e.member.compressed_size = e.header.size() + e.data_size;
  return e;
}

// Members are encoded several at once and written in order; a worker that is done early waits, so
// that at most one member per thread is held in memory.
class NpzFile {
 public:
  NpzFile(const std::filesystem::path& path, std::span<const ArrayView> arrays)
      : arrays_(arrays), file_(path) {}

  void write(std::size_t i, const Encoded& encoded) {
    std::unique_lock lock(mutex_);
    turn_.wait(lock, [&] { return next_ == i || failed_; });
    if (failed_) return;
    ZipMember member = encoded.member;
    member.header_offset = file_.size();
    const std::string header = zip_local_header(member);
    file_.write(std::as_bytes(std::span(header)));
    file_.write(std::as_bytes(std::span(encoded.header)));
    if (encoded.data) {
      file_.write({encoded.data.get(), encoded.data_size});
    } else {
      file_.write(arrays_[i].bytes);
    }
    members_.push_back(std::move(member));
    ++next_;
    turn_.notify_all();
  }

  // Lets the waiting workers go.
  void fail() {
    const std::lock_guard lock(mutex_);
    failed_ = true;
    turn_.notify_all();
  }
  bool failed() {
    const std::lock_guard lock(mutex_);
    return failed_;
  }

  void finish() {
    const std::string directory = zip_directory(members_, file_.size());
    file_.write(std::as_bytes(std::span(directory)));
    file_.commit();
  }

 private:
  std::span<const ArrayView> arrays_;
  AtomicFile file_;
  std::vector<ZipMember> members_;
  std::mutex mutex_;
  std::condition_variable turn_;
  std::size_t next_ = 0;
  bool failed_ = false;
};

void check(std::span<const ArrayView> arrays) {
  std::set<std::string_view> names;
  for (const ArrayView& array : arrays) {
    const std::string where = "array '" + shown(array.name) + "'";
    if (array.name.empty() || array.name.size() > kMaxName) {
      throw input_error(where, fmt::format("a name of {} bytes", array.name.size()),
                        fmt::format("1 to {}", kMaxName));
    }
    if (array.name.find('\0') != std::string::npos ||
        !simdjson::validate_utf8(array.name.data(), array.name.size())) {
      throw input_error(where, "a name that is no UTF-8 text", "one");
    }
    if (!names.insert(array.name).second) throw input_error(where, "given twice", "unique names");
    static_cast<void>(npy_header(array));  // dtype, shape and bytes, before a file is made
  }
}

}  // namespace

void write_npz(const std::filesystem::path& path, std::span<const ArrayView> arrays,
               Compression compression, int threads) {
  check(arrays);
  ThreadPool pool(threads);
  NpzFile file(path, arrays);
  std::vector<Compressor> compressors(static_cast<std::size_t>(pool.size()));
  std::atomic<std::size_t> next{0};
  pool.run([&](int worker) {
    try {
      for (std::size_t i = next.fetch_add(1); i < arrays.size() && !file.failed();
           i = next.fetch_add(1)) {
        file.write(i,
                   encode(arrays[i], compression, compressors[static_cast<std::size_t>(worker)]));
      }
    } catch (...) {
      file.fail();
      throw;
    }
  });
  file.finish();
}

}  // namespace assay

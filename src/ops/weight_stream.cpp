#include "ops/weight_stream.h"

#include <algorithm>
#include <cassert>
#include <functional>
#include <span>

namespace assay {
namespace {

// Kernels compute this many rows together.
constexpr std::size_t kTile = 16;

std::size_t row_bytes(const Weight& w) { return w.cols * dtype_size(w.dtype); }

// The file that contains a view.
std::size_t file_of(const Weights& files, const std::byte* data) {
  for (std::size_t i = 0; i < files.files().size(); ++i) {
    const std::span<const std::byte> bytes = files.mapped(i);
    if (!std::less<>()(data, bytes.data()) && std::less<>()(data, bytes.data() + bytes.size())) {
      return i;
    }
  }
  throw std::logic_error("a weight outside the checkpoint's files cannot be streamed");
}

}  // namespace

WeightStream::WeightStream(const Weights& files, std::span<const Weight> matrices,
                           const Limits& limits) {
  for (const std::filesystem::path& path : files.files()) files_.emplace_back(path);
  std::size_t largest = 1;
  std::uint64_t pass_bytes = 0;
  for (const Weight& w : matrices) {
    const std::size_t file = file_of(files, w.data);
    const std::size_t step = std::max(limits.block_bytes / row_bytes(w) / kTile, std::size_t{1});
    for (std::size_t row = 0; row < w.rows; row += step * kTile) {
      const std::size_t rows = std::min(step * kTile, w.rows - row);
      const auto offset = static_cast<std::uint64_t>(w.data - files.mapped(file).data());
      blocks_.push_back({{nullptr, w.dtype, rows, w.cols},
                         file,
                         offset + row * row_bytes(w),
                         pass_bytes < limits.cached_bytes});
      largest = std::max(largest, rows * row_bytes(w));
      pass_bytes += rows * row_bytes(w);
    }
  }
  block_bytes_ = largest;
  buffers_.resize(std::max(limits.buffer_bytes / largest, std::size_t{3}));
}

WeightStream::~WeightStream() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void WeightStream::begin() {
  {
    const std::lock_guard lock(mutex_);
    ++pass_;
    read_ = 0;
    taken_ = 0;
    error_ = nullptr;
  }
  changed_.notify_all();
  // Starts late, because reading only a model's metadata needs neither thread nor buffers.
  if (!thread_.joinable()) {
    for (AlignedVector<std::byte>& buffer : buffers_) buffer.resize(block_bytes_);
    thread_ = std::thread([this] { read_blocks(); });
  }
}

Weight WeightStream::next() {
  std::unique_lock lock(mutex_);
  if (taken_ >= blocks_.size()) throw std::logic_error("more weights are used than streamed");
  const std::size_t block = taken_++;
  changed_.notify_all();  // the previous block's buffer is free
  changed_.wait(lock, [&] { return read_ > block || error_; });
  if (read_ <= block) std::rethrow_exception(error_);
  Weight rows = blocks_[block].rows;
  rows.data = buffer(block);
  return rows;
}

void WeightStream::read_blocks() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] {
      const std::size_t free = std::max(taken_, std::size_t{1}) - 1;
      return stop_ ||
             (pass_ > 0 && !error_ && read_ < blocks_.size() && read_ < free + buffers_.size());
    });
    if (stop_) return;
    const std::uint64_t pass = pass_;
    const std::size_t block = read_;
    lock.unlock();
    std::exception_ptr error;
    try {
      read(block);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    if (pass != pass_) continue;  // another pass has begun meanwhile
    if (error) {
      error_ = error;
    } else {
      ++read_;
    }
    changed_.notify_all();
  }
}

void WeightStream::read(std::size_t block) {
  const Block& b = blocks_[block];
  const std::size_t size = b.rows.rows * row_bytes(b.rows);
  files_[b.file].read(b.offset, {buffer(block), size});
  if (!b.cached) files_[b.file].let_go(b.offset, size);
}

}  // namespace assay

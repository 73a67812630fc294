#include "ops/weight_stream.h"

#include <algorithm>
#include <cassert>
#include <functional>
#include <span>

namespace assay {
namespace {

// Kernels compute this many rows together.
constexpr std::size_t kTile = 16;

// Bytes of the file that the rows are read with: with others in between, if they alternate.
std::size_t data_bytes(const Weight& w) { return w.stored_rows() * w.row_bytes(); }
std::size_t scale_bytes(const Weight& w) { return w.stored_rows() * w.scale_bytes(); }

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
    const auto part_of = [&files](const std::byte* data, std::size_t size) {
      const std::size_t file = file_of(files, data);
      return Part{file, static_cast<std::uint64_t>(data - files.mapped(file).data()), size};
    };
    const std::size_t row_bytes = (w.row_bytes() + w.scale_bytes()) * w.row_step;
    const std::size_t step = std::max(limits.block_bytes / row_bytes / kTile, std::size_t{1});
    for (std::size_t row = 0; row < w.rows; row += step * kTile) {
      const Weight rows = w.from_row(row, std::min(step * kTile, w.rows - row));
      Block block{rows, {part_of(rows.data, data_bytes(rows))}, pass_bytes < limits.cached_bytes};
      if (w.is_mxfp4()) block.parts.push_back(part_of(rows.scales, scale_bytes(rows)));
      const std::size_t size = data_bytes(rows) + scale_bytes(rows);
      blocks_.push_back(std::move(block));
      largest = std::max(largest, size);
      pass_bytes += size;
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
  if (rows.is_mxfp4()) rows.scales = rows.data + data_bytes(rows);
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
  std::byte* to = buffer(block);
  for (const Part& part : b.parts) {
    files_[part.file].read(part.offset, {to, part.size});
    if (!b.cached) files_[part.file].let_go(part.offset, part.size);
    to += part.size;
  }
}

}  // namespace assay

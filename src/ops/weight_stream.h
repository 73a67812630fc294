// Streams the matrices of a checkpoint that does not fit into memory: reads them from its files in
// blocks of rows, in the order of the forward pass, ahead of their use.
//
// A thread reads into a ring of buffers while earlier blocks are computed with, and tells the
// kernel to drop what it has read. The alternative, to use the mapped files and advise the kernel
// which pages to fetch and drop, is slower: advice fetches at most the device's read-ahead size per
// call, in single pages, and a fault also fetches what is before it, which has just been dropped.
// Fetched pages may also be evicted before they are used.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "base/aligned_vector.h"
#include "base/file_reader.h"
#include "formats/safetensors.h"
#include "numerics/kernels.h"

namespace assay {

class WeightStream {
 public:
  struct Limits {
    std::size_t block_bytes;     // read and computed with at a time; at least 16 rows
    std::size_t buffer_bytes;    // in memory at a time; at least three blocks
    std::uint64_t cached_bytes;  // the first part of a pass, which the page cache may keep
  };

  // matrices: views into `files`, in the order in which every pass uses them.
  WeightStream(const Weights& files, std::span<const Weight> matrices, const Limits& limits);
  ~WeightStream();
  WeightStream(const WeightStream&) = delete;
  WeightStream& operator=(const WeightStream&) = delete;

  // Starts a pass: begins to read, whether or not the previous one was finished.
  void begin();
  // The next block of rows of this pass, valid until the next call. Throws if reading failed.
  Weight next();

 private:
  struct Part {
    std::size_t file;
    std::uint64_t offset;
    std::size_t size;
  };
  struct Block {
    Weight rows;              // as they lie in the file
    std::vector<Part> parts;  // one after the other in the buffer: elements, scales
    bool cached;              // the page cache may keep it
  };

  void read_blocks();
  void read(std::size_t block);
  std::byte* buffer(std::size_t block) { return buffers_[block % buffers_.size()].data(); }

  std::vector<FileReader> files_;
  std::vector<Block> blocks_;
  std::size_t block_bytes_;  // of the largest block
  std::vector<AlignedVector<std::byte>> buffers_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t pass_ = 0;
  std::size_t read_ = 0;   // blocks that this pass has read into buffers
  std::size_t taken_ = 0;  // blocks that next() returned; the last of them is in use
  bool stop_ = false;
  std::exception_ptr error_;
  std::thread thread_;
};

}  // namespace assay

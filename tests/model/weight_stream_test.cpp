#include "ops/weight_stream.h"

#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/expect_error.h"
#include "base/temporary_directory.h"
#include "formats/safetensors.h"

namespace assay {
namespace {

constexpr std::size_t kBlock = 4096;

// Two matrices with odd sizes, whose rows are longer and shorter than blocks.
class Checkpoint {
 public:
  Checkpoint() {
    const std::vector<TensorInfo> tensors = {{"a", DType::kF32, {37, 33}},
                                             {"b", DType::kBF16, {300, 5}}};
    std::uint32_t state = 1;
    write_safetensors(file(), tensors, [&](const TensorInfo& tensor, ByteSink& sink) {
      std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.shape[0] * tensor.shape[1]) *
                                   dtype_size(tensor.dtype));
      for (std::byte& byte : bytes)
        byte = static_cast<std::byte>((state = state * 1103515245u + 12345u) >> 16);
      sink.write(bytes);
    });
    files_.emplace(Weights::open_file(file()));
    // Not in the order of the file, and one of them is used twice.
    matrices_ = {matrix("b"), matrix("a"), matrix("b")};
  }
  std::filesystem::path file() const { return directory_ / "model.safetensors"; }
  const Weights& files() const { return *files_; }
  const std::vector<Weight>& matrices() const { return matrices_; }

 private:
  Weight matrix(std::string_view name) const {
    const ArrayView& view = *files_->find(name);
    return {view.bytes.data(), view.dtype, static_cast<std::size_t>(view.shape[0]),
            static_cast<std::size_t>(view.shape[1])};
  }

  TemporaryDirectory directory_;
  std::optional<Weights> files_;
  std::vector<Weight> matrices_;
};

void expect_pass(WeightStream& stream, const std::vector<Weight>& matrices) {
  stream.begin();
  for (const Weight& w : matrices) {
    const std::size_t row_bytes = w.cols * dtype_size(w.dtype);
    for (std::size_t row = 0; row < w.rows;) {
      const Weight block = stream.next();
      ASSERT_EQ(block.cols, w.cols);
      ASSERT_EQ(block.dtype, w.dtype);
      ASSERT_LE(row + block.rows, w.rows);
      EXPECT_LE(block.rows * row_bytes, kBlock);
      EXPECT_TRUE(block.rows % 16 == 0 || row + block.rows == w.rows);
      EXPECT_TRUE(
          std::equal(block.data, block.data + block.rows * row_bytes, w.data + row * row_bytes));
      row += block.rows;
    }
  }
}

TEST(WeightStream, GivesTheRowsInOrderPassAfterPass) {
  const Checkpoint checkpoint;
  for (const std::size_t buffers : {std::size_t{0}, 5 * kBlock}) {
    for (const std::uint64_t cached : {0, 5000}) {
      WeightStream stream(checkpoint.files(), checkpoint.matrices(), {kBlock, buffers, cached});
      for (int pass = 0; pass < 3; ++pass) expect_pass(stream, checkpoint.matrices());
    }
  }
}

TEST(WeightStream, ABrokenOffPassDoesNotDisturbTheNext) {
  const Checkpoint checkpoint;
  WeightStream stream(checkpoint.files(), checkpoint.matrices(), {kBlock, 0, 0});
  for (int taken = 0; taken < 4; ++taken) {
    stream.begin();
    for (int i = 0; i < taken; ++i) stream.next();
    expect_pass(stream, checkpoint.matrices());
  }
}

TEST(WeightStream, AFileThatWasCutShortIsAnInputError) {
  const Checkpoint checkpoint;
  WeightStream stream(checkpoint.files(), checkpoint.matrices(), {kBlock, 0, 0});
  const auto size = std::filesystem::file_size(checkpoint.file());
  std::filesystem::resize_file(checkpoint.file(), size - 1);
  for (int pass = 0; pass < 2; ++pass) {
    stream.begin();
    expect_error(ErrorKind::kInput, {"model.safetensors", "ends at byte"}, [&] { stream.next(); });
  }
}

}  // namespace
}  // namespace assay

// Small files that inflate to a lot: memory must not grow with that.
#include "assay/npz.h"
#include "cli/program.h"
#include "formats/zip.h"

namespace assay {
namespace {

TEST(LargeFiles, AreReadInLittleMemory) {
  constexpr std::int64_t kRows = 64;
  constexpr std::int64_t kColumns = 1 << 20;
  constexpr long kMostKib = 200'000;
  static_assert(kRows * kColumns * 4 / 1024 > kMostKib);
  const TemporaryDirectory directory;
  {
    Array array{"layer_00_output", DType::kF32, {1, kRows, kColumns}, {}};
    array.bytes.resize(kRows * kColumns * 4);
    write_npz(directory / "small.npz", std::vector{array.view()}, Compression::kFast);
    write_npz(directory / "stored.npz", std::vector{array.view()}, Compression::kNone);
  }
  ASSERT_LT(std::filesystem::file_size(directory / "small.npz"), 4'000'000u);
  for (const char* file : {"small.npz", "stored.npz"}) {
    const Result inspected = run_program({"inspect", directory / file});
    EXPECT_EQ(inspected.exit_code, 0) << inspected.err;
    EXPECT_LT(inspected.peak_kib, kMostKib) << file;
    const Result compared = run_program({"compare", directory / file, directory / "small.npz"});
    EXPECT_EQ(compared.exit_code, 0) << compared.err;
    EXPECT_LT(compared.peak_kib, kMostKib) << file;
  }
}

// A sparse file of 8 GiB that claims to inflate to 8 TB, which no disk here can hold.
TEST(LargeFiles, AreRefusedBeforeSpaceRunsOut) {
  const TemporaryDirectory directory;
  ZipMember member{"x.npy", ZipMethod::kDeflated, 0, std::uint64_t{8} << 30, 0, 0};
  member.size = member.compressed_size * 1000;
  const std::string header = zip_local_header(member);
  const std::uint64_t end = header.size() + member.compressed_size;
  write_text(directory / "x.npz", header);
  std::filesystem::resize_file(directory / "x.npz", end);
  std::ofstream(directory / "x.npz", std::ios::binary | std::ios::app)
      << zip_directory(std::vector{member}, end);
  expect_failure(run_program({"inspect", directory / "x.npz"}), 4,
                 {"x.npz: member 'x.npy'", "8.6 TB", "TMPDIR"});
}

}  // namespace
}  // namespace assay

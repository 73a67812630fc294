// Random damage to valid files: a reader loads what is left or throws an Error; it never crashes,
// and no other exception escapes. Run it under the sanitizers. A failure prints the seed.
#include <gtest/gtest.h>

#include <optional>
#include <random>

#include "assay/npz.h"
#include "base/memory_file.h"
#include "base/temporary_directory.h"
#include "formats/gguf.h"
#include "formats/gguf_builder.h"
#include "formats/golden_arrays.h"
#include "formats/json_file.h"
#include "formats/safetensors.h"
#include "formats/torch_file.h"

namespace assay {
namespace {

using Random = std::mt19937;

std::size_t below(Random& random, std::size_t end) {
  return random() % std::max<std::size_t>(end, 1);
}

// One to four changes: a byte, an 8-byte number, a piece removed, repeated or the end cut off.
std::string damaged(std::string text, Random& random) {
  for (std::size_t change = 1 + below(random, 4); change > 0 && !text.empty(); --change) {
    const std::size_t at = below(random, text.size());
    const std::size_t size = 1 + below(random, std::min<std::size_t>(text.size() - at, 16));
    switch (random() % 6) {
      case 0:
        text[at] = static_cast<char>(random());
        break;
      case 1:
        text[at] = static_cast<char>(text[at] ^ 1 << random() % 8);
        break;
      case 2:
        text.replace(at, size, size, random() % 2 != 0 ? '\xFF' : '\0');
        break;
      case 3:
        text.erase(at, size);
        break;
      case 4:
        text.insert(below(random, text.size()), text.substr(at, size));
        break;
      default:
        if (random() % 4 == 0) text.resize(at);
        // Digits stay digits, so numbers become wrong.
        for (char& c : text) {
          if (c >= '0' && c <= '9' && random() % 64 == 0)
            c = static_cast<char>('0' + random() % 10);
        }
    }
  }
  return text;
}

template <class Load>
void load_damaged(const std::string& valid, int rounds, Load load) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  int refused = 0;
  for (int round = 0; round < rounds; ++round) {
    const MemoryFile file(bytes_of(damaged(valid, random)));
    try {
      load(file.path());
    } catch (const Error& error) {
      ASSERT_EQ(error.kind(), ErrorKind::kInput) << error.what();
      ++refused;
    } catch (const std::exception& error) {
      FAIL() << "round " << round << ": " << error.what();
    }
  }
  EXPECT_GT(refused, rounds / 10);  // the damage was real
}

void read_all(const std::filesystem::path& path) {
  const NpzReader reader(path);
  std::optional<Error> first;
  for (const std::string& name : reader.names()) {
    try {
      const Array array = reader.read(name);
      const auto count = static_cast<std::size_t>(element_count(array.shape, name));
      ASSERT_EQ(array.bytes.size(), count * dtype_size(array.dtype));
    } catch (const Error& error) {
      if (!first) first = error;
    }
  }
  if (first) throw *first;
}

TEST(Mutations, DamagedArchivesAreReadOrRefused) {
  for (const char* file : {"numpy_stored.npz", "numpy_deflated.npz", "data_descriptors.npz",
                           "comments.npz", "versions.npz"}) {
    SCOPED_TRACE(file);
    load_damaged(read_text(golden(file)), 1000, read_all);
  }
}

TEST(Mutations, DamagedNpyFilesAreReadOrRefused) {
  const TemporaryDirectory directory;
  write_npy(directory / "x.npy", pattern("x", DType::kF32, {2, 3}).view());
  load_damaged(read_text(directory / "x.npy"), 2000, read_npy);
}

TEST(Mutations, DamagedWeightsAreReadOrRefused) {
  const std::string valid = read_text(golden("package.safetensors"));
  load_damaged(valid, 2000, [](const std::filesystem::path& path) {
    std::size_t bytes = 0;
    const Weights weights = Weights::open_file(path);
    for (const ArrayView& tensor : weights.tensors()) {
      for (const std::byte byte : tensor.bytes) bytes += static_cast<std::size_t>(byte) & 1;
    }
    ASSERT_LE(bytes, weights.total_bytes());
  });
}

TEST(Mutations, DamagedTorchFilesAreReadOrRefused) {
  for (const char* file : {"types.pt", "views.pt", "containers.pt", "legacy.pt", "protocol5.pt"}) {
    SCOPED_TRACE(file);
    load_damaged(read_text(golden(file)), 1000, [](const std::filesystem::path& path) {
      const TorchFile torch(path);
      std::optional<Error> first;
      for (const TorchFile::Tensor& tensor : torch.tensors()) {
        try {
          const LoadedArray array = torch.load(tensor, "x");
          ASSERT_EQ(array.view.bytes.size(), tensor.byte_count());
          std::size_t bits = 0;
          for (const std::byte byte : array.view.bytes) bits += static_cast<std::size_t>(byte) & 1;
          ASSERT_LE(bits, array.view.bytes.size());
        } catch (const Error& error) {
          if (!first) first = error;
        }
      }
      if (first) throw *first;
    });
  }
}

TEST(Mutations, DamagedGgufFilesAreReadOrRefused) {
  const std::string blocks(136, 'x');
  const std::string built = GgufBuilder()
                                .texts("texts", {"a", "", "bcd"})
                                .u32("n", 7)
                                .tensor("a", {2, 32}, GgmlType::kQ8_0, blocks.substr(0, 68))
                                .tensor("b", {256}, GgmlType::kIQ4_XS, blocks)
                                .counting("c", {3})
                                .bytes();
  for (const std::string& valid : {built, read_text(golden("gguf_metadata.gguf"))}) {
    load_damaged(valid, 2000, [](const std::filesystem::path& path) {
      const GgufFile gguf(path);
      std::vector<float> values;
      for (const GgufTensor& tensor : gguf.tensors()) {
        values.resize(tensor.elements());
        dequantize(tensor.type, tensor.bytes, values);
      }
    });
  }
}

TEST(Mutations, DamagedJsonIsReadOrRefused) {
  load_damaged(R"({"architectures": ["X"], "rope_scaling": {"factor": 1.5e3, "type": "größe"},
                   "n": [1, 2, {"m": null}], "eos_token_id": 151645, "tie": true})",
               2000, [](const std::filesystem::path& path) {
                 const JsonObject json(path);
                 for (const char* field : {"n", "eos_token_id", "tie", "rope_scaling"}) {
                   json.text(field);
                 }
                 json.integers("eos_token_id");
                 json.object("rope_scaling").positive_number("factor");
               });
}

}  // namespace
}  // namespace assay

// From text to ids and back.
#include "tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "assay/error.h"
#include "base/temporary_directory.h"

namespace assay {
namespace {

using nlohmann::json;
using Ids = std::vector<std::int64_t>;

const Tokenizer& bundled() {
  static const Tokenizer tokenizer =
      Tokenizer::load(ASSAY_ROOT "/models/tiny-qwen3/tokenizer.json");
  return tokenizer;
}

json golden(const std::string& name) {
  std::ifstream file(ASSAY_TEST_DATA "/tokenizer/data/" + name);
  return json::parse(file);
}

TEST(Tokenizer, EncodesAsTheTokenizersLibrary) {
  const json cases = golden("encode.json");
  ASSERT_GT(cases.size(), 50u);
  for (const json& c : cases) {
    EXPECT_EQ(bundled().encode(c["text"].get<std::string>()), c["ids"].get<Ids>()) << c["text"];
  }
}

TEST(Tokenizer, DecodesAsTheTokenizersLibrary) {
  const json cases = golden("decode.json");
  ASSERT_GT(cases.size(), 50u);
  for (const json& c : cases) {
    EXPECT_EQ(bundled().decode(c["ids"].get<Ids>(), c["skip_special"]), c["text"]) << c;
  }
}

TEST(Tokenizer, GivesTheDocumentedIdsOfQwen3) {
  const char* shared = std::getenv("ASSAY_SHARED");
  const std::filesystem::path file =
      std::filesystem::path(shared != nullptr ? shared : ASSAY_ROOT "/../shared") /
      "models/Qwen3-0.6B/tokenizer.json";
  if (!exists(file)) GTEST_SKIP() << "no " << file << " (set ASSAY_SHARED)";
  const Tokenizer qwen = Tokenizer::load(file);
  EXPECT_EQ(qwen.size(), 151669);
  EXPECT_EQ(qwen.encode("Hello"), (Ids{9707}));
  EXPECT_EQ(qwen.encode("The capital of France is"), (Ids{785, 6722, 315, 9625, 374}));
  EXPECT_EQ(qwen.encode("What is 2+2?"), (Ids{3838, 374, 220, 17, 10, 17, 30}));
  EXPECT_EQ(qwen.encode(" Hello world"), (Ids{21927, 1879}));
  EXPECT_EQ(qwen.encode("I'm fine"), (Ids{40, 2776, 6915}));
  EXPECT_EQ(qwen.encode("a\n\n\nb"), (Ids{64, 1406, 65}));
  EXPECT_EQ(qwen.encode("  two spaces"), (Ids{220, 1378, 12621}));
  EXPECT_EQ(qwen.encode("e\u0301"), (Ids{963}));
  EXPECT_EQ(qwen.encode("你好，世界"), (Ids{108386, 3837, 99489}));
  EXPECT_EQ(qwen.encode("🙂"), (Ids{145080}));
  EXPECT_EQ(qwen.encode("<think>\n\n</think>\n\n"), (Ids{151667, 271, 151668, 271}));
  EXPECT_EQ(
      qwen.encode("<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n"),
      (Ids{151644, 872, 198, 3838, 374, 220, 17, 10, 17, 30, 151645, 198, 151644, 77091, 198}));
}

TEST(Tokenizer, InvalidUtf8IsAnErrorWithItsOffset) {
  const struct {
    std::string text;
    std::string offset;
  } cases[] = {
      {"\xFF", "0xFF at offset 0"},
      {"ab\x80", "0x80 at offset 2"},
      {"\u00E9\xC3", "0xC3 at offset 2"},                  // truncated
      {"a\xE4\xBD", "0xE4 at offset 1"},                   // truncated
      {"a\xC0\xAF", "0xC0 at offset 1"},                   // overlong
      {"a\xE0\x80\xAF", "0xE0 at offset 1"},               // overlong
      {"abc\xED\xA0\x80z", "0xED at offset 3"},            // a surrogate
      {"\U0001F642\xF4\x90\x80\x80", "0xF4 at offset 4"},  // above U+10FFFF
      {"<|im_start|>\xF8", "0xF8 at offset 12"},
  };
  for (const auto& c : cases) {
    try {
      bundled().encode(c.text, "prompt 2");
      ADD_FAILURE() << "accepted " << json(c.offset);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInput);
      EXPECT_EQ(error.where(), "prompt 2");
      EXPECT_NE(error.found().find(c.offset), std::string::npos) << error.what();
    }
  }
}

TEST(Tokenizer, DecodingReturnsTextThatIsInNfc) {
  for (const std::string text : {"plain text, 'quoted'  twice\n\n",
                                 "你好，世界 🙂\t\u00E9\u0301", "<|im_start|>x<think>"}) {
    EXPECT_EQ(bundled().decode(bundled().encode(text)), text);
  }
  EXPECT_EQ(bundled().decode(bundled().encode("e\u0301")), "\u00E9");
}

TEST(Tokenizer, CutCharactersDecodeToReplacementsOfTheirMaximalSubparts) {
  const auto decode_bytes = [](const std::string& bytes) {
    Ids ids;
    for (const char c : bytes) {  // find the one-byte token
      for (std::int64_t id = 0; id < bundled().size(); ++id) {
        if (bundled().token_bytes(id) == std::string(1, c)) ids.push_back(id);
      }
    }
    EXPECT_EQ(ids.size(), bytes.size());
    return bundled().decode(ids);
  };
  EXPECT_EQ(decode_bytes("\xF0\x9F\x99\x82"), "🙂");
  EXPECT_EQ(decode_bytes("a\xF0\x9F\x99"
                         "b"),
            "a\uFFFDb");
  EXPECT_EQ(decode_bytes("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(decode_bytes("\xE4\xBD\xE4\xBD\xA0"), "\uFFFD你");
  EXPECT_EQ(decode_bytes("\x80\xC0\xC3"), "\uFFFD\uFFFD\uFFFD");
}

TEST(Tokenizer, SkipsIdsWithoutAToken) {
  const Ids ids = {-1,
                   64,
                   bundled().size(),
                   1 << 30,
                   std::numeric_limits<std::int64_t>::min(),
                   std::numeric_limits<std::int64_t>::max(),
                   65};
  EXPECT_EQ(bundled().decode(ids), "ab");
  EXPECT_EQ(bundled().token_bytes(-1), "");
  EXPECT_EQ(bundled().token_bytes(bundled().size()), "");
}

TEST(Tokenizer, SkipSpecialKeepsAddedTokensThatAreNotSpecial) {
  const Ids ids = bundled().encode("<|im_start|>a<think>b<|im_end|>");
  EXPECT_EQ(ids.size(), 5u);
  EXPECT_EQ(bundled().decode(ids, /*skip_special=*/true), "a<think>b");
}

TEST(Tokenizer, LongPiecesOfOneKindAreEncodedWhole) {
  constexpr std::size_t kLength = 1'000'000;
  for (const char c : {' ', 'a', '\n', '-', '7'}) {
    const std::string text(kLength, c);
    const Ids ids = bundled().encode(text);
    EXPECT_EQ(bundled().decode(ids), text) << "of '" << c << "'";
  }
  std::string marks = "e";  // in reverse canonical order
  for (int i = 0; i < 100'000; ++i) marks += "\u0301\u0323";
  EXPECT_EQ(bundled().decode(bundled().encode(marks)).substr(0, 5), "\u1EB9\u0323");
}

TEST(Tokenizer, ThreadsShareIt) {
  const json cases = golden("encode.json");
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (int& count : wrong) {
    threads.emplace_back([&cases, &count] {
      for (const json& c : cases) {
        count += bundled().encode(c["text"].get<std::string>()) != c["ids"].get<Ids>();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

// The parser reads some bytes past the text, which a full last page does not have.
TEST(Tokenizer, FilesOfEveryLengthWithinAPageLoad) {
  std::ifstream file(ASSAY_ROOT "/models/tiny-qwen3/tokenizer.json");
  std::string text(std::istreambuf_iterator<char>(file), {});
  const TemporaryDirectory directory;
  const std::filesystem::path copy = directory.path() / "tokenizer.json";
  text.resize((text.size() / 4096 + 2) * 4096, ' ');
  for (const std::size_t beyond : {4096, 1, 4000, 4064, 4095}) {
    std::ofstream(copy, std::ios::binary) << text.substr(0, text.size() - 4096 + beyond);
    EXPECT_EQ(Tokenizer::load(copy).encode("Hello"), bundled().encode("Hello")) << beyond;
  }
}

TEST(Tokenizer, MissingFileIsAnInputError) {
  try {
    Tokenizer::load("no_such_directory/tokenizer.json");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInput);
    EXPECT_EQ(error.where(), "no_such_directory/tokenizer.json");
  }
}

}  // namespace
}  // namespace assay

// What a prompt file may contain; tests/cli tests what it may not, through the program.
#include <gtest/gtest.h>

#include "assay/prompt.h"
#include "base/expect_error.h"
#include "base/temporary_directory.h"

namespace assay {
namespace {

TEST(Prompts, TheClassicThree) {
  const std::vector<Prompt> prompts = default_prompts();
  ASSERT_EQ(prompts.size(), 3u);
  EXPECT_EQ(prompts[0].id, "prompt1");
  EXPECT_EQ(prompts[0].text, "Hello");
  EXPECT_EQ(prompts[1].text, "The capital of France is");
  EXPECT_EQ(prompts[2].text, "What is 2+2?");
}

TEST(Prompts, FromATextFileALineEach) {
  const TemporaryDirectory directory;
  write_text(directory / "p.txt", "one\r\n\n two words \nlast");
  const std::vector<Prompt> prompts = read_prompts(directory / "p.txt", 4);
  ASSERT_EQ(prompts.size(), 3u);
  EXPECT_EQ(prompts[0].id, "prompt4");
  EXPECT_EQ(prompts[0].text, "one");
  EXPECT_EQ(prompts[1].text, " two words ");
  EXPECT_EQ(prompts[2].id, "prompt6");
  EXPECT_EQ(prompts[2].text, "last");
}

TEST(Prompts, AByteOrderMarkIsNotPartOfThem) {
  const TemporaryDirectory directory;
  for (const char* file : {"p.txt", "p.jsonl"}) {
    const bool jsonl = std::string_view(file).ends_with("l");
    write_text(directory / file, jsonl ? "\uFEFF{\"text\": \"Hello\"}\n" : "\uFEFFHello\n");
    EXPECT_EQ(read_prompts(directory / file)[0].text, "Hello") << file;
  }
  // Within a text it is kept.
  write_text(directory / "p.txt", "a\uFEFFb");
  EXPECT_EQ(read_prompts(directory / "p.txt")[0].text, "a\uFEFFb");
}

TEST(Prompts, FromJsonl) {
  const TemporaryDirectory directory;
  write_text(directory / "p.jsonl",
             "{\"text\": \"a\\nb \\ud83d\\ude00\"}\n"
             "\n"
             "{\"id\": \"mine-1.x\", \"input_ids\": [5, 0, 7], \"note\": \"ignored\"}\n"
             "{\"text\": \"\"}\n");
  const std::vector<Prompt> prompts = read_prompts(directory / "p.jsonl");
  ASSERT_EQ(prompts.size(), 3u);
  EXPECT_EQ(prompts[0].id, "prompt1");
  EXPECT_EQ(prompts[0].text, "a\nb \xF0\x9F\x98\x80");
  EXPECT_EQ(prompts[1].id, "mine-1.x");
  EXPECT_FALSE(prompts[1].text.has_value());
  EXPECT_EQ(prompts[1].input_ids, (std::vector<std::int64_t>{5, 0, 7}));
  EXPECT_EQ(prompts[2].id, "prompt3");
  EXPECT_EQ(prompts[2].text, "");  // refused when it is used
}

TEST(Prompts, MayBeConversations) {
  const TemporaryDirectory directory;
  write_text(directory / "p.jsonl",
             "{\"messages\": [{\"role\": \"user\", \"content\": \"What is 2+2?\"}]}\n"
             "{\"text\": \"What is 2+2?\"}\n"
             "{\"input_ids\": [5, 0, 7]}\n");
  std::vector<Prompt> prompts = read_prompts(directory / "p.jsonl");
  ASSERT_EQ(prompts.size(), 3u);
  ASSERT_TRUE(prompts[0].conversation.has_value());
  EXPECT_FALSE(prompts[0].text.has_value());
  render_chats(prompts, ASSAY_ROOT "/models/tiny-qwen3");
  EXPECT_FALSE(prompts[0].conversation.has_value());
  EXPECT_EQ(prompts[0].text, prompts[1].text);
  EXPECT_EQ(prompts[0].text,
            "<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>"
            "\n\n");
  EXPECT_FALSE(prompts[0].input_ids.empty());
  EXPECT_EQ(prompts[0].input_ids, prompts[1].input_ids);
  EXPECT_EQ(prompts[2].input_ids, (std::vector<std::int64_t>{5, 0, 7}));
}

}  // namespace
}  // namespace assay

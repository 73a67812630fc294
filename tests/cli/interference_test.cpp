// Files that other processes change while the program runs.
#include <gtest/gtest.h>

#include <fstream>
#include <thread>

#include "cli/program.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

class Interference : public testing::Test {
 protected:
  // Some seconds for forty prompts, very little for one.
  std::vector<std::string> extract(int prompts) const {
    const std::string file = directory_ / ("prompts" + std::to_string(prompts) + ".txt");
    std::string text;
    for (int i = 0; i < prompts; ++i) text += "Hello world, number " + std::to_string(i) + "\n";
    write_text(file, text);
    return {"extract", "--model", model_.path(), "--out",      out(),      "--prompts",
            file,      "--taps",  "*",           "--numerics", "bf16,f64", "--max-new-tokens",
            "8"};
  }
  std::string out() const { return directory_ / "out"; }

  // Waits until the run has begun to write.
  void wait_for_staging() const {
    for (int i = 0; i < 5000 && staging().empty(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_FALSE(staging().empty());
  }
  std::vector<std::string> staging() const {
    std::vector<std::string> found;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(out(), error)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with(".")) found.push_back(name);
    }
    return found;
  }

  CheckpointCopy model_;
  TemporaryDirectory directory_;
};

TEST_F(Interference, OfTwoRunsIntoOneDirectoryTheSecondIsRefused) {
  Result second;
  std::string holder;
  const Result first = run_program(extract(40), {.meanwhile = [&](pid_t process) {
                                     wait_for_staging();
                                     holder = "process " + std::to_string(process);
                                     second = run_program(extract(1));
                                   }});
  EXPECT_EQ(first.exit_code, 0) << first.err;
  expect_failure(second, 4, {out(), holder, "is writing into it"});
  EXPECT_EQ(run_program({"compare", out(), out()}).exit_code, 0);
  EXPECT_EQ(staging(), std::vector<std::string>());
}

// A mapped file is truncated: the program prints a message and leaves nothing. An earlier set
// stays.
TEST_F(Interference, ATruncatedCheckpointIsReported) {
  ASSERT_EQ(run_program(extract(1)).exit_code, 0);
  const std::string before = read_text(fs::path(out()) / "manifest.json");
  const Result result = run_program(extract(40), {.meanwhile = [&](pid_t) {
                                      wait_for_staging();
                                      fs::resize_file(model_.file("model.safetensors"), 8);
                                    }});
  expect_failure(result, 3, {"model.safetensors"});
  EXPECT_EQ(staging(), std::vector<std::string>());
  EXPECT_EQ(read_text(fs::path(out()) / "manifest.json"), before);
}

TEST_F(Interference, AnOverwrittenCheckpointIsReported) {
  ASSERT_EQ(run_program(extract(1)).exit_code, 0);
  const std::string before = read_text(fs::path(out()) / "manifest.json");
  const Result result =
      run_program(extract(40), {.meanwhile = [&](pid_t) {
                    wait_for_staging();
                    std::fstream file(model_.file("model.safetensors"),
                                      std::ios::in | std::ios::out | std::ios::binary);
                    file.seekp(3000000);
                    file << "other weights";
                  }});
  expect_failure(result, 3, {"model.safetensors", "changed while it was read"});
  EXPECT_EQ(staging(), std::vector<std::string>());
  EXPECT_EQ(read_text(fs::path(out()) / "manifest.json"), before);
}

TEST_F(Interference, WhatAKilledRunLeavesTheNextOneRemoves) {
  const Result killed = run_program(extract(40), {.meanwhile = [&](pid_t process) {
                                      wait_for_staging();
                                      ::kill(process, SIGKILL);
                                    }});
  EXPECT_EQ(killed.exit_code, 128 + SIGKILL);
  EXPECT_EQ(staging().size(), 1u);
  EXPECT_EQ(run_program(extract(1)).exit_code, 0);
  EXPECT_EQ(staging(), std::vector<std::string>());
}

TEST_F(Interference, ASyntheticModelThatIsLargerThanTheDiskIsRefusedAtOnce) {
  const std::string config = directory_ / "config.json";
  std::string text = read_text(model_.file("config.json"));
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"\"hidden_size\": 64", "\"hidden_size\": 1048576"}}) {
    const std::size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos);
    text.replace(at, from.size(), to);
  }
  write_text(config, text);
  const std::size_t at = text.find("\"intermediate_size\": ");
  ASSERT_NE(at, std::string::npos);
  text.insert(at + 21, "99999");
  write_text(config, text);
  const Result result = run_program({"synth", "--config", config, "--out", out()});
  expect_failure(result, 4, {"model.safetensors", "the disk has", "for the weights"});
  EXPECT_EQ(staging(), std::vector<std::string>());
}

}  // namespace
}  // namespace assay

// Every call that can fail does so once: the program must return the right exit code and one line,
// and leave no incomplete file under a final name. The calls are drawn at random (the seed is
// printed) until a command's time is over; ASSAY_FAULT_SECONDS=0 tries all of them.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <random>
#include <regex>
#include <sstream>

#include "cli/program.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

constexpr double kDefaultSeconds = 6;
constexpr const char* kKinds[] = {"open", "read",  "write", "sync",       "rename",
                                  "map",  "mkdir", "short", "interrupted"};

double seconds() {
  const char* wanted = std::getenv("ASSAY_FAULT_SECONDS");
  return wanted == nullptr ? kDefaultSeconds : std::atof(wanted);
}

unsigned seed() {
  const char* wanted = std::getenv("ASSAY_FAULT_SEED");
  static const unsigned chosen =
      wanted != nullptr ? static_cast<unsigned>(std::atol(wanted)) : std::random_device{}();
  return chosen;
}

struct Fault {
  std::string kind;
  long at = 0;
  bool more = false;  // all from there on
  std::string text() const { return kind + ":" + std::to_string(at) + (more ? "+" : ""); }
  // The calls that would remove leftovers fail as well.
  bool stops_removal() const { return kind == "open" || kind == "read" || kind == "alloc"; }
};

Result run_with(const std::vector<std::string>& arguments, const std::string& fault,
                const std::string& report = "") {
  RunOptions options;
  options.environment = {{"LD_PRELOAD", ASSAY_FAULTS_LIBRARY}, {"ASSAY_FAULT", fault}};
  if (!report.empty()) options.environment.emplace_back("ASSAY_FAULT_REPORT", report);
  // A run that hangs is killed.
  options.meanwhile = [](pid_t child) {
    for (int i = 0; i < 6000; ++i) {
      siginfo_t ended{};
      ::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOHANG | WNOWAIT);
      if (ended.si_pid != 0) return;
      ::usleep(i < 1000 ? 2000 : 20000);
    }
    ::kill(child, SIGKILL);
  };
  return run_program(arguments, options);
}

// The files in a directory with their relative paths, without the hidden ones of a run.
std::map<std::string, std::string> files_in(const fs::path& directory) {
  std::map<std::string, std::string> files;
  if (!fs::exists(directory)) return files;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    const std::string name = entry.path().lexically_relative(directory);
    if (entry.is_regular_file() && name.find(".partial-") == name.npos) {
      // A report has its date.
      static const std::regex date("20[0-9-]{8} [0-9:]{5} UTC");
      std::string text = read_text(entry.path());
      if (entry.path().extension() == ".html") text = std::regex_replace(text, date, "");
      files[name] = std::move(text);
    }
  }
  return files;
}

// The output does not depend on where a run writes.
std::string without(std::string text, const std::string& path) {
  for (std::size_t at = text.find(path); at != text.npos; at = text.find(path)) {
    text.erase(at, path.size());
  }
  return text;
}

bool has_leavings(const fs::path& directory) {
  if (!fs::exists(directory)) return false;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    if (entry.path().string().find(".partial-") != std::string::npos) return true;
  }
  return false;
}

// One command, tried with many faults.
class Command {
 public:
  // arguments: for the directory that the run may write into. before: makes what exists already.
  using Arguments = std::function<std::vector<std::string>(const fs::path& out)>;
  Command(Arguments arguments, const fs::path& before = {})
      : arguments_(std::move(arguments)), before_(before) {
    const TemporaryDirectory out;
    prepare(out.path());
    expected_ = run_program(arguments_(out.path()));
    expected_.out = without(expected_.out, out.path());
    expected_files_ = files_in(out.path());
    EXPECT_EQ(expected_.exit_code, 0) << expected_.err;
  }

  void try_faults() {
    std::mt19937 random(seed());
    std::vector<Fault> faults = all_faults();
    std::shuffle(faults.begin(), faults.end(), random);
    const auto begin = std::chrono::steady_clock::now();
    std::size_t tried = 0;
    std::map<std::string, int> failed;  // by kind
    for (const Fault& fault : faults) {
      const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
      if (seconds() > 0 && passed.count() > seconds()) break;
      failed[fault.kind] += attempt(fault);
      ++tried;
      if (testing::Test::HasFailure()) break;
    }
    std::printf("%zu of %zu faults, seed %u:", tried, faults.size(), seed());
    for (const auto& [kind, count] : failed) std::printf(" %s %d", kind.c_str(), count);
    std::printf(" runs failed\n");
    EXPECT_GT(tried, 0u);
  }

  // SIGKILL at random instants; the next run must clean up.
  void kill_at_random() {
    std::mt19937 random(seed());
    const auto begin = std::chrono::steady_clock::now();
    const auto passed = [&] {
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    };
    {
      const TemporaryDirectory out;
      prepare(out.path());
      run_program(arguments_(out.path()));
    }
    const double whole_run = passed();
    const double most = seconds() > 0 ? seconds() : 120;
    int killed = 0;
    int tried = 0;
    for (; (passed() < most || killed < 3) && !testing::Test::HasFailure(); ++tried) {
      const TemporaryDirectory out;
      prepare(out.path());
      RunOptions options;
      options.kill_signal = SIGKILL;
      options.kill_after_us = static_cast<useconds_t>(
          std::uniform_real_distribution<double>(0, whole_run * 1e6)(random));
      const Result result = run_program(arguments_(out.path()), options);
      killed += result.exit_code == 128 + SIGKILL;
      const std::string about = "killed after " + std::to_string(options.kill_after_us) +
                                " us, seed " + std::to_string(seed());
      expect_whole(files_in(out.path()), about);
      const Result next = run_program(arguments_(out.path()));
      EXPECT_EQ(next.exit_code, 0) << next.err << about;
      EXPECT_TRUE(files_in(out.path()) == expected_files_) << about;
      EXPECT_FALSE(has_leavings(out.path())) << about;
    }
    std::printf("%d of %d runs were killed, seed %u\n", killed, tried, seed());
  }

 private:
  // No incomplete file under a final name, no manifest before its files.
  void expect_whole(const std::map<std::string, std::string>& files,
                    const std::string& about) const {
    for (const auto& [name, contents] : files) {
      const auto whole = expected_files_.find(name);
      EXPECT_TRUE(whole != expected_files_.end() && whole->second == contents)
          << name << " is not whole, of " << about;
    }
    if (files.contains("set/manifest.json")) {
      EXPECT_TRUE(files == expected_files_) << "manifest without its files, of " << about;
    }
  }

  void prepare(const fs::path& out) const {
    if (!before_.empty()) fs::copy(before_, out, fs::copy_options::recursive);
  }

  // The number of calls of a kind; for allocations, those that come first from their call stack.
  std::vector<long> calls(const std::string& kind) const {
    const TemporaryDirectory out;
    const TemporaryDirectory report;
    prepare(out.path());
    run_with(arguments_(out.path()), kind + ":0", report / "calls");
    std::istringstream text(read_text(report / "calls"));
    std::vector<long> numbers;
    for (long number = 0; text >> number;) numbers.push_back(number);
    return numbers;
  }

  std::vector<Fault> all_faults() const {
    std::vector<Fault> faults;
    for (const char* kind : kKinds) {
      const long count = calls(kind).at(0);
      for (long at = 1; at <= count; ++at) faults.push_back({kind, at});
    }
    const std::vector<long> allocations = calls("alloc");
    EXPECT_GT(allocations.size(), 100u);
    for (std::size_t i = 1; i < allocations.size(); ++i) {
      faults.push_back({"alloc", allocations[i]});
      if (i % 16 == 0) faults.push_back({"alloc", allocations[i], true});
    }
    return faults;
  }

  // Whether the run failed.
  bool attempt(const Fault& fault) const {
    const TemporaryDirectory out;
    prepare(out.path());
    const Result result = run_with(arguments_(out.path()), fault.text());
    const std::string about = fault.text() + "\n" + result.err;
    const auto files = files_in(out.path());
    if (result.exit_code == 0) {
      EXPECT_EQ(without(result.out, out.path()), expected_.out) << about;
      EXPECT_TRUE(files == expected_files_) << about;
    } else {
      const bool may_be_input = fault.kind == "open" || fault.kind == "read" || fault.kind == "map";
      EXPECT_TRUE(result.exit_code == 4 || (may_be_input && result.exit_code == 3))
          << "exit code " << result.exit_code << " of " << about;
      EXPECT_NE(fault.kind, "short") << about;
      EXPECT_NE(fault.kind, "interrupted") << about;
      EXPECT_TRUE(result.err.find("assay: error: ") != std::string::npos) << about;
      if (fault.kind == "alloc") {
        EXPECT_TRUE(result.err.find("memory") != std::string::npos) << about;
      }
    }
    expect_whole(files, about);
    if (!fault.stops_removal()) {
      EXPECT_FALSE(has_leavings(out.path())) << about;
    }
    return result.exit_code != 0;
  }

  Arguments arguments_;
  fs::path before_;
  Result expected_;
  std::map<std::string, std::string> expected_files_;
};

class Faults : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = new TemporaryDirectory;
    ASSERT_EQ(run_program(extract(*directory_ / "made", "1")).exit_code, 0);
  }
  static void TearDownTestSuite() { delete directory_; }

  static std::vector<std::string> extract(const fs::path& out, const std::string& threads) {
    return {"extract",    "--prompt", "The capital", "--prompt", "one two", "--max-new-tokens", "2",
            "--numerics", "bf16,f64", "--threads",   threads,    "--out",   out / "set"};
  }
  static std::vector<std::string> compare(const fs::path& out, const std::string& threads) {
    return {"compare", reference(),        reference(), "--html", out / "report.html",
            "--junit", out / "report.xml", "--threads", threads};
  }
  static std::vector<std::string> synth(const fs::path& out) {
    return {"synth", "--config",   ASSAY_ROOT "/models/tiny-qwen3/config.json", "--shards", "2",
            "--out", out / "model"};
  }
  static fs::path made() { return *directory_ / "made"; }
  static std::string reference() { return made() / "set"; }

  inline static TemporaryDirectory* directory_ = nullptr;
};

TEST_F(Faults, InExtract) {
  Command([](const fs::path& out) { return extract(out, "1"); }).try_faults();
}
TEST_F(Faults, InExtractOnTwoThreads) {
  Command([](const fs::path& out) { return extract(out, "2"); }).try_faults();
}
TEST_F(Faults, InExtractOverAFinishedSet) {
  Command([](const fs::path& out) { return extract(out, "1"); }, made()).try_faults();
}
TEST_F(Faults, InCompare) {
  Command([](const fs::path& out) { return compare(out, "1"); }).try_faults();
}
TEST_F(Faults, InCompareOnTwoThreads) {
  Command([](const fs::path& out) { return compare(out, "2"); }).try_faults();
}
TEST_F(Faults, InDiagnose) {
  Command([](const fs::path&) {
    return std::vector<std::string>{"diagnose",  "--reference", reference(), "--candidate",
                                    reference(), "--threads",   "1"};
  }).try_faults();
}
TEST_F(Faults, InSynth) {
  Command([](const fs::path& out) { return synth(out); }).try_faults();
}
TEST_F(Faults, KillsOfExtract) {
  Command([](const fs::path& out) { return extract(out, "2"); }).kill_at_random();
}
TEST_F(Faults, KillsOfExtractOverAFinishedSet) {
  Command([](const fs::path& out) { return extract(out, "2"); }, made()).kill_at_random();
}
TEST_F(Faults, KillsOfSynth) {
  Command([](const fs::path& out) { return synth(out); }).kill_at_random();
}

}  // namespace
}  // namespace assay

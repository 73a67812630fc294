// The C API when system calls fail: no crash, no leaked memory or file, no wrong verdict.
#include <dlfcn.h>
#include <execinfo.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <numeric>
#include <random>

#include "capi/engine.h"
#include "faults.h"

namespace assay {
namespace {

using CApiFaults = CApi;

constexpr int kWrong = 1;
constexpr int kJsonDied = 42;

// The place of nlohmann-json's destructor of values in the library: it allocates, and a destructor
// cannot throw, so callers cannot do anything about it.
struct Range {
  std::uintptr_t begin = 0;
  std::uintptr_t size = 0;
};
std::vector<Range> json_destructors;

void find_json_destructors() {
  FILE* lines = ::popen("nm -S " ASSAY_SHARED_LIBRARY, "r");
  char line[4096];
  while (std::fgets(line, sizeof line, lines) != nullptr) {
    if (std::string_view(line).find("10json_value7destroy") == std::string_view::npos) continue;
    char* end = nullptr;
    const std::uintptr_t begin = std::strtoull(line, &end, 16);
    json_destructors.push_back({begin, std::strtoull(end, nullptr, 16)});
  }
  ::pclose(lines);
}

void on_terminate() {
  faults_disarm();
  void* frames[64];
  const int count = ::backtrace(frames, 64);
  Dl_info library{};
  ::dladdr(reinterpret_cast<void*>(&assay_open), &library);
  for (int i = 0; i < count; ++i) {
    // For a call at the very end of a function, the return address is after that function.
    const auto at = reinterpret_cast<std::uintptr_t>(frames[i]) -
                    reinterpret_cast<std::uintptr_t>(library.dli_fbase) - 1;
    for (const Range& range : json_destructors) {
      if (at - range.begin < range.size) ::_exit(kJsonDied);
    }
  }
  ::backtrace_symbols_fd(frames, count, STDERR_FILENO);
  std::abort();
}

// Prints the place.
void on_crash(int) {
  void* frames[64];
  ::backtrace_symbols_fd(frames, ::backtrace(frames, 64), STDERR_FILENO);
  ::_exit(128 + SIGSEGV);
}

long open_files() {
  return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
}

// A whole run of an engine, which must not get a wrong verdict on right tensors.
// with_json: then nlohmann-json may leak a list's elements, if the list's construction fails.
bool run_engine(const std::string& reference, const std::string& record,
                const std::vector<Array>& arrays, bool with_json) {
  assay_checker* checker = open(reference, record);
  if (checker == nullptr) return true;
  bool good = true;
  for (const Array& array : arrays) {
    const assay_verdict verdict = check(checker, array);
    good &= verdict == ASSAY_PASS || verdict == ASSAY_ERROR || verdict == ASSAY_NOT_COMPARED;
  }
  if (with_json) assay_report_json(checker);
  assay_report_text(checker);
  const assay_verdict last = assay_close(checker);
  return good && (last == ASSAY_PASS || last == ASSAY_ERROR);
}

// Runs it in a separate process and returns its end status.
template <class Run>
int run_with(const Run& run, FaultKind kind, long at, bool may_keep_blocks) {
  const pid_t child = ::fork();
  if (child == 0) {
    std::set_terminate(on_terminate);
    ::signal(SIGSEGV, on_crash);
    ::alarm(60);
    const long files = open_files();
    bool good = true;
    long blocks = 0;
    // What a library sets up once, at its first failure, is not a leak.
    for (int time = 0; time < 3; ++time) {
      faults_arm(kind, at, 0, false);
      good &= run();
      faults_disarm();
      if (time == 0) blocks = faults_live_blocks();
    }
    // Texts that a thread keeps for its caller may be allocated or freed.
    if ((faults_live_blocks() > blocks + 4 && !may_keep_blocks) || open_files() != files) {
      std::fprintf(stderr, "%ld blocks and %ld files more\n", faults_live_blocks() - blocks,
                   open_files() - files);
      good = false;
    }
    ::_exit(good ? 0 : kWrong);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST_F(CApiFaults, NothingIsKeptAndNothingIsWrong) {
  find_json_destructors();
  ASSERT_FALSE(json_destructors.empty()) << "no symbols in " ASSAY_SHARED_LIBRARY;
  const TemporaryDirectory out;
  const char* wanted = std::getenv("ASSAY_FAULT_SECONDS");
  const double seconds = wanted == nullptr ? 6 : std::atof(wanted);
  const unsigned seed = std::random_device{}();
  std::mt19937 random(seed);
  std::vector<Array> arrays;
  for (const char* name : {"input_ids", "embed_output", "layer_00_q_proj", "logits"}) {
    arrays.push_back(array(name));
  }
  // The test's own allocations do not count.
  const std::string reference = one();
  const std::string record = out / "record.npz";
  bool with_json = true;
  const auto run = [&] { return run_engine(reference, record, arrays, with_json); };
  EXPECT_TRUE(run());  // sets up everything that stays
  EXPECT_TRUE(run());
  std::vector<std::pair<FaultKind, long>> faults;
  for (int k = kFaultOpen; k < kFaultKinds; ++k) {
    const auto kind = static_cast<FaultKind>(k);
    faults_arm(kind, 0, 0, false);
    run();
    const long calls = faults_disarm();
    for (long at = 1; at <= calls; ++at) faults.emplace_back(kind, at);
  }
  // There are few calls on files, so all are tried.
  std::shuffle(faults.begin(), faults.end(), random);
  std::ranges::stable_partition(faults, [](const auto& f) { return f.first != kFaultAlloc; });
  const auto begin = std::chrono::steady_clock::now();
  std::size_t tried = 0;
  int died_of_json = 0;
  for (const auto& [kind, at] : faults) {
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
    if (seconds > 0 && passed.count() > seconds) break;
    with_json = tried % 2 == 0;
    const int ended = run_with(run, kind, at, with_json);
    died_of_json += ended == kJsonDied;
    ASSERT_TRUE(ended == 0 || (ended == kJsonDied && kind == kFaultAlloc))
        << "kind " << kind << ", call " << at << ": ended with " << ended;
    ++tried;
  }
  std::printf("%zu of %zu faults, seed %u, %d of them within nlohmann-json's destructor\n", tried,
              faults.size(), seed, died_of_json);
  EXPECT_GT(tried, 10u);
}

}  // namespace
}  // namespace assay

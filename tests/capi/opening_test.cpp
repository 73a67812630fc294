// The C API: invalid calls, and environment variables.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdlib>
#include <limits>

#include "capi/engine.h"

namespace assay {
namespace {

// Compared with the checkpoint that the engine runs.
TEST_F(CApi, AReferenceOfAnotherCheckpointIsRefused) {
  const std::string reference = one();
  std::string model = ASSAY_ROOT "/models/tiny-qwen3";
  assay_options options = {};
  options.size = sizeof options;
  options.reference = reference.c_str();
  options.model = model.c_str();
  assay_checker* checker = assay_open(&options);
  ASSERT_NE(checker, nullptr) << assay_message();
  assay_close(checker);
  const TemporaryDirectory scratch;
  model = scratch / "model";
  fs::copy(ASSAY_ROOT "/models/tiny-qwen3", model);
  json config = json::parse(read_text(fs::path(model) / "config.json"));
  config["rms_norm_eps"] = 1e-5;
  write_text(fs::path(model) / "config.json", config.dump());
  options.model = model.c_str();
  EXPECT_EQ(assay_open(&options), nullptr);
  EXPECT_NE(std::string(assay_message()).find("not the reference's checkpoint"), std::string::npos)
      << assay_message();
  // A caller that does not know the field yet.
  options.size = offsetof(assay_options, model);
  checker = assay_open(&options);
  EXPECT_NE(checker, nullptr) << assay_message();
  assay_close(checker);
}

TEST_F(CApi, AnInvalidToleranceIsRefused) {
  const std::string reference = one();
  for (const double tolerance : {-1.0, std::numeric_limits<double>::quiet_NaN()}) {
    assay_options options = {};
    options.size = sizeof options;
    options.reference = reference.c_str();
    options.tolerance = tolerance;
    EXPECT_EQ(assay_open(&options), nullptr);
    EXPECT_NE(std::string(assay_message()).find("tolerance"), std::string::npos);
  }
}

TEST_F(CApi, PositionsThatNoSequenceHasAreRefused) {
  assay_checker* checker = open(one());
  for (const auto& [first, count] : {std::pair<std::int64_t, std::int64_t>{INT64_MAX, 1},
                                     {std::int64_t{1} << 62, std::int64_t{1} << 62},
                                     {0, 0},
                                     {-1, 2}}) {
    EXPECT_EQ(assay_set_positions(checker, first, count), ASSAY_ERROR);
  }
  EXPECT_EQ(check(checker, array("layer_00_output")), ASSAY_PASS) << assay_message();
  assay_close(checker);
}

// A name that no file can have is refused at once, and does not affect other arrays.
TEST_F(CApi, RefusesNamesThatNoRecordCanHold) {
  const TemporaryDirectory directory;
  const std::string record = directory / "record.npz";
  assay_checker* checker = open("", record);
  for (const std::string& name : {std::string(), std::string("b\xe9"), std::string(60001, 'a')}) {
    EXPECT_EQ(check(checker, Array{name, DType::kF32, {1}, std::vector<std::byte>(4)}),
              ASSAY_ERROR);
    EXPECT_NE(std::string(assay_message()).find("name"), std::string::npos) << assay_message();
  }
  check(checker, Array{"good", DType::kF32, {1}, std::vector<std::byte>(4)});
  assay_close(checker);
  EXPECT_EQ(NpzReader(record).names(), (std::vector<std::string>{"good"}));
}

// A piece of a wrong size does not affect other arrays.
TEST_F(CApi, RecordsWhatCanBeJoined) {
  const TemporaryDirectory directory;
  const std::string record = directory / "record.npz";
  assay_checker* checker = open("", record);
  const auto rows = [&](const char* name, std::int64_t count) {
    Array part{name, DType::kF32, {count, 2}, {}};
    part.bytes.resize(static_cast<std::size_t>(count) * 8);
    check(checker, part);
  };
  assay_set_positions(checker, 0, 3);
  rows("bad", 3);
  rows("good", 3);
  assay_set_positions(checker, 3, 2);
  rows("bad", 3);
  rows("good", 2);
  EXPECT_EQ(assay_close(checker), ASSAY_ERROR);
  EXPECT_NE(std::string(assay_message()).find("array 'bad', not written"), std::string::npos)
      << assay_message();
  const NpzReader npz(record);
  EXPECT_EQ(npz.names(), (std::vector<std::string>{"good"}));
  EXPECT_EQ(npz.form_of("good").shape, (Shape{5, 2}));
}

// A warm-up pass with the whole prompt and without positions, before the real run.
TEST_F(CApi, AWarmUpPassIsTheOneThatCounts) {
  const TemporaryDirectory directory;
  const Array whole = array("layer_05_q_norm");
  Array piece = whole;  // the first two of five positions, and wrong
  piece.shape[1] = 2;
  piece.bytes.resize(piece.bytes.size() / 5 * 2);
  piece.as<float>()[0] += 100;
  assay_checker* checker = open(one(), directory / "record.npz");
  EXPECT_EQ(check(checker, whole), ASSAY_PASS);
  assay_set_positions(checker, 0, 2);
  EXPECT_EQ(check(checker, piece), ASSAY_NOT_COMPARED);
  EXPECT_NE(std::string(assay_message()).find("handed over before"), std::string::npos);
  assay_set_positions(checker, 2, 3);
  EXPECT_EQ(check(checker, whole), ASSAY_NOT_COMPARED);
  EXPECT_EQ(assay_close(checker), ASSAY_PASS);
  EXPECT_EQ(NpzReader(directory / "record.npz").read("layer_05_q_norm").bytes, whole.bytes);
}

TEST_F(CApi, ANameOfManyPartsIsUnknown) {
  assay_checker* checker = open(one());
  std::string name;
  for (int i = 0; i < 100000; ++i) name += "a: ";
  EXPECT_EQ(assay_wants(checker, name.c_str()), 0);
  assay_close(checker);
}

TEST_F(CApi, DoesNothingWithoutAChecker) {
  ::unsetenv("ASSAY_REFERENCE");
  ::unsetenv("ASSAY_RECORD");
  assay_checker* none = assay_open_environment();
  ASSERT_EQ(none, nullptr);
  EXPECT_EQ(assay_wants(none, "logits"), 0);
  EXPECT_EQ(assay_set_positions(none, 0, 5), ASSAY_NOT_COMPARED);
  assay_result result = empty_result();
  EXPECT_EQ(assay_check(none, nullptr, nullptr, ASSAY_F32, 99, nullptr, nullptr, &result),
            ASSAY_NOT_COMPARED);
  EXPECT_EQ(result.verdict, ASSAY_NOT_COMPARED);
  EXPECT_EQ(assay_report_text(none), nullptr);
  EXPECT_EQ(assay_close(none), ASSAY_NOT_COMPARED);
  EXPECT_STREQ(assay_message(), "");
}

// A name may contain anything: it is reported, and breaks neither messages nor the report.
TEST_F(CApi, ANameThatAffectsATerminalIsEscaped) {
  assay_checker* checker = open(one());
  Array evil = array("layer_05_output");
  evil.name = "layer_05_output\x1b[31m\xff\u009b\r";
  EXPECT_EQ(check(checker, evil), ASSAY_NOT_COMPARED);
  const json report = report_of(checker);
  EXPECT_NE(report.dump().find("layer_05_output"), std::string::npos);
  const std::string text = assay_report_text(checker);
  EXPECT_NE(text.find("\\x1b[31m"), std::string::npos) << text;
  for (const char c : std::string("\x1b\r")) EXPECT_EQ(text.find(c), std::string::npos) << text;
  assay_close(checker);
}

TEST_F(CApi, RefusesNonsenseInWords) {
  EXPECT_EQ(assay_open(nullptr), nullptr);
  assay_options old = {};
  old.size = 8;
  EXPECT_EQ(assay_open(&old), nullptr);
  EXPECT_NE(std::string(assay_message()).find("sizeof"), std::string::npos);
  EXPECT_EQ(open("", ""), nullptr);
  EXPECT_EQ(open("/nowhere"), nullptr);
  EXPECT_NE(std::string(assay_message()).find("/nowhere"), std::string::npos);

  assay_checker* checker = open(one());
  const float x[8] = {};
  const Shape shape = {2, 4};
  const Shape negative = {2, -4};
  const Shape huge = {std::numeric_limits<std::int64_t>::max() / 2, 1};
  const char* name = "layer_05_output";
  const auto refused = [&](assay_verdict verdict, const char* what) {
    EXPECT_EQ(verdict, ASSAY_ERROR);
    EXPECT_NE(std::string(assay_message()).find(what), std::string::npos) << assay_message();
  };
  constexpr int no_dtype = 77;
  refused(assay_check(checker, nullptr, x, ASSAY_F32, 2, shape.data(), nullptr, nullptr), "name");
  refused(assay_check(checker, name, nullptr, ASSAY_F32, 2, shape.data(), nullptr, nullptr),
          "data NULL");
  refused(assay_check(checker, name, x, no_dtype, 2, shape.data(), nullptr, nullptr), "dtype 77");
  refused(assay_check(checker, name, x, ASSAY_F32, 17, shape.data(), nullptr, nullptr), "rank 17");
  refused(assay_check(checker, name, x, ASSAY_F32, -1, shape.data(), nullptr, nullptr), "rank -1");
  refused(assay_check(checker, name, x, ASSAY_F32, 2, nullptr, nullptr, nullptr), "shape NULL");
  refused(assay_check(checker, name, x, ASSAY_F32, 2, negative.data(), nullptr, nullptr), "-4");
  refused(assay_check(checker, name, x, ASSAY_F64, 2, huge.data(), nullptr, nullptr), "memory");
  refused(assay_check(checker, name, x, ASSAY_F32, 2, shape.data(), nullptr, nullptr),
          "[2, 4] cannot be read as");
  refused(assay_set_positions(checker, -1, 1), "first -1");
  // A caller built with an older header gets no more bytes than its struct has.
  assay_result result;
  std::memset(&result, 0x55, sizeof result);
  result.size = offsetof(assay_result, tap);
  EXPECT_EQ(check(checker, array("logits"), &result), ASSAY_PASS);
  EXPECT_EQ(result.verdict, ASSAY_PASS);
  EXPECT_EQ(result.max_ulp, 0x5555555555555555);
  EXPECT_EQ(assay_close(checker), ASSAY_ERROR);
}

// Runs in a separate process, which reads the environment variables.
class CApiEnvironment : public CApi {
 protected:
  void SetUp() override { testing::GTEST_FLAG(death_test_style) = "fast"; }
  // An engine whose layer 5 is wrong, run with these variables.
  static void run_wrong_engine(const char* stop) {
    ::setenv("ASSAY_REFERENCE", one().c_str(), 1);
    ::setenv("ASSAY_RECORD", (*directory_ / "stopped.npz").c_str(), 1);
    ::setenv("ASSAY_STOP", stop, 1);
    assay_checker* checker = assay_open_environment();
    check(checker, array("layer_04_output"));
    Array wrong = array("layer_05_output");
    for (float& x : wrong.as<float>()) x *= 2;
    check(checker, wrong);
    check(checker, array("layer_06_output"));
    std::exit(40 + static_cast<int>(assay_close(checker)));
  }
};

TEST_F(CApiEnvironment, GoesOnAndReports) {
  EXPECT_EXIT(run_wrong_engine("0"), testing::ExitedWithCode(40 + ASSAY_FAIL),
              "layer_05_output: fail: noise ratio.*First divergence: layer_05_output");
  EXPECT_EXIT(
      {
        ::setenv("ASSAY_PROFILE", "table", 1);
        run_wrong_engine("");
      },
      testing::ExitedWithCode(40 + ASSAY_FAIL), "layer_05_output: fail: MSE");
}

TEST_F(CApiEnvironment, StopsAtTheFirstDivergence) {
  EXPECT_EXIT(run_wrong_engine("1"), testing::ExitedWithCode(1), "First divergence: layer_05");
  EXPECT_EXIT(run_wrong_engine("abort"), testing::KilledBySignal(SIGABRT), "layer_05_output: fail");
  EXPECT_EQ(NpzReader(*directory_ / "stopped.npz").names(),
            (std::vector<std::string>{"layer_04_output", "layer_05_output"}));
}

// The process belongs to the host, and ends only if ASSAY_STOP asks for it.
TEST_F(CApiEnvironment, DoesNotSkipAWantedCheckInSilence) {
  for (const char* stop : {"1", "abort"}) {
    EXPECT_EXIT(
        {
          ::setenv("ASSAY_REFERENCE", "/nowhere", 1);
          ::setenv("ASSAY_STOP", stop, 1);
          assay_open_environment();
        },
        testing::ExitedWithCode(3), "assay: error: /nowhere");
  }
  EXPECT_EXIT(
      {
        ::setenv("ASSAY_REFERENCE", "/nowhere", 1);
        assay_checker* checker = assay_open_environment();
        bool good = checker != nullptr;
        const auto is_error = [&](assay_verdict verdict) {
          good = good && verdict == ASSAY_ERROR &&
                 std::string(assay_message()).find("/nowhere") != std::string::npos;
        };
        is_error(check(checker, array("logits")));
        is_error(assay_set_positions(checker, 0, 5));
        good = good && assay_wants(checker, "logits") == 0;
        good = good && assay_report_text(checker) == nullptr;
        good = good && assay_report_json(checker) == nullptr;
        is_error(assay_close(checker));
        std::exit(good ? 40 : 41);
      },
      testing::ExitedWithCode(40), "^assay: error: /nowhere[^\n]*\n$");
  EXPECT_EXIT(run_wrong_engine("maybe"), testing::ExitedWithCode(40 + ASSAY_ERROR),
              "ASSAY_STOP.*'maybe'");
}

// The function that a host passes to assay_set_reporter.
struct Reported {
  std::string text;
  static void add(const char* text, void* user) { static_cast<Reported*>(user)->text += text; }
};

TEST_F(CApiEnvironment, ReportsThroughTheHostsFunction) {
  EXPECT_EXIT(
      {
        Reported* reported = new Reported;
        assay_set_reporter(Reported::add, reported);
        ::setenv("ASSAY_REFERENCE", "/nowhere", 1);
        assay_close(assay_open_environment());
        const bool good = reported->text.starts_with("assay: error: /nowhere");
        assay_set_reporter(nullptr, nullptr);
        ::setenv("ASSAY_REFERENCE", "/neither", 1);
        assay_close(assay_open_environment());
        std::exit(good ? 40 : 41);
      },
      testing::ExitedWithCode(40), "^assay: error: /neither[^\n]*\n$");
}

TEST_F(CApi, ReportsThroughTheHostsFunction) {
  Reported reported;
  assay_set_reporter(Reported::add, &reported);
  assay_options options = {};
  options.size = sizeof options;
  const std::string reference = one();
  options.reference = reference.c_str();
  options.print = 1;
  testing::internal::CaptureStderr();
  assay_checker* checker = assay_open(&options);
  Array wrong = array("layer_05_output");
  for (float& x : wrong.as<float>()) x *= 2;
  check(checker, wrong);
  const std::string at_once = reported.text;
  EXPECT_EQ(at_once.find("assay: layer_05_output: fail: noise ratio"), 0u) << at_once;
  EXPECT_EQ(std::ranges::count(at_once, '\n'), 1) << at_once;
  const std::string report = assay_report_text(checker);
  EXPECT_EQ(assay_close(checker), ASSAY_FAIL);
  EXPECT_EQ(reported.text, at_once + report);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  assay_set_reporter(nullptr, nullptr);
}

}  // namespace
}  // namespace assay

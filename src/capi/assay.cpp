// The C API: pointers in, verdicts out. No exception leaves it.
#include "assay.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "assay/check.h"
#include "assay/error.h"
#include "base/float_mode.h"
#include "base/strided.h"
#include "base/text.h"
#include "report/compare_report.h"
#include "report/json_text.h"
#include "verify/divergence.h"

struct assay_checker {
  // None where the environment asked for one that cannot be had: then `problem` says why.
  std::unique_ptr<assay::Checker> checker;
  std::string problem;
  int stop = ASSAY_STOP_NEVER;
  bool print = false;
  bool strict = false;  // what is coarse fails
  std::atomic<bool> any_error = false;

  // Throws where there is none.
  assay::Checker& opened() const {
    if (checker == nullptr) throw std::runtime_error(problem);
    return *checker;
  }
};

namespace {

using assay::TensorResult;
using assay::Verdict;

thread_local std::string last_message;
thread_local std::string last_tap;
thread_local std::string last_report;

std::mutex reporter_mutex;
assay_reporter reporter = nullptr;  // none: standard error
void* reporter_user = nullptr;

// Not fmt::print: it throws when standard error takes no more.
void hand_to_reporter(const char* text) {
  const std::lock_guard lock(reporter_mutex);
  if (reporter != nullptr) {
    reporter(text, reporter_user);
  } else {
    std::fputs(text, stderr);
  }
}

void say(const std::string& text) {
  if (!text.empty()) hand_to_reporter(assay::for_terminal(text, false).c_str());
}

// Runs `action`; what it throws becomes this thread's message and `otherwise`.
template <class T, class Action>
T guarded(T otherwise, const Action& action) {
  const assay::DefaultFloatMode mode;
  last_message.clear();
  try {
    return action();
  } catch (const std::bad_alloc&) {
    last_message = "out of memory";
  } catch (const std::exception& error) {
    try {
      last_message = assay::visible(error.what());
    } catch (const std::bad_alloc&) {
      last_message = "out of memory";
    }
  }
  return otherwise;
}

std::string text_or_empty(const char* text) { return text == nullptr ? "" : text; }

assay_verdict c_verdict(Verdict verdict) {
  switch (verdict) {
    case Verdict::kPass:
      return ASSAY_PASS;
    case Verdict::kCoarse:
      return ASSAY_COARSE;
    case Verdict::kFail:
      return ASSAY_FAIL;
    case Verdict::kError:
      return ASSAY_ERROR;
    case Verdict::kNotCompared:
      return ASSAY_NOT_COMPARED;
  }
  return ASSAY_ERROR;
}

// Only as far as the caller's struct goes, whose version may be older.
void fill(assay_result* result, const TensorResult& from) {
  if (result == nullptr) return;
  last_tap = from.name;
  const bool was_compared =
      from.verdict != Verdict::kError && from.verdict != Verdict::kNotCompared;
  const assay_result full = {
      .size = result->size,
      .verdict = c_verdict(from.verdict),
      .tap = was_compared ? last_tap.c_str() : nullptr,
      .message = last_message.c_str(),
      .compared = from.metrics.compared,
      .relative_l2 = from.metrics.relative_l2,
      .cosine = from.metrics.cosine,
      .mse = from.metrics.mse,
      .max_abs = from.metrics.max_abs,
      .noise_ratio = from.noise_ratio.value_or(std::nan("")),
      .mean_ulp = from.metrics.mean_ulp,
      .max_ulp = from.metrics.max_ulp,
  };
  std::memcpy(result, &full, std::min(result->size, sizeof full));
}

std::string final_text(const assay_checker& handle) {
  const assay::CompareReport report = handle.opened().report();
  return report.prompts.empty()
             ? ""
             : assay::for_terminal(assay::compare_text(report, false, false), false);
}

// Record and report; true unless the record could not be written.
bool finish(const assay_checker& handle) {
  const bool written = guarded(false, [&] {
    handle.opened().write_record();
    return true;
  });
  // Moved, not copied: what is outside of guarded() must not allocate.
  std::string problem = std::move(last_message);
  if (handle.print && handle.checker) {
    guarded(0, [&] {
      if (!written) say(fmt::format("assay: error: {}\n", problem));
      say(final_text(handle));
      return 0;
    });
  }
  last_message = std::move(problem);
  return written;
}

void stop_if_wished(const assay_checker& handle) {
  if (handle.stop == ASSAY_STOP_NEVER) return;
  finish(handle);
  std::fflush(nullptr);
  if (handle.stop == ASSAY_STOP_ABORT) std::abort();
  std::_Exit(1);
}

assay_stop stop_of(const std::string& value) {
  if (value.empty() || value == "0") return ASSAY_STOP_NEVER;
  if (value == "1") return ASSAY_STOP_EXIT;
  if (value == "abort") return ASSAY_STOP_ABORT;
  throw assay::usage_error("ASSAY_STOP", "'" + value + "'", "0, 1 or abort");
}

int flag_of(const char* name, const std::string& value) {
  if (value.empty() || value == "0") return 0;
  if (value == "1") return 1;
  throw assay::usage_error(name, "'" + value + "'", "0 or 1");
}

}  // namespace

const char* assay_version(void) { return ASSAY_VERSION; }

void assay_set_reporter(assay_reporter new_reporter, void* user) {
  const std::lock_guard lock(reporter_mutex);
  reporter = new_reporter;
  reporter_user = user;
}

assay_checker* assay_open(const assay_options* options) {
  return guarded<assay_checker*>(nullptr, [&] {
    if (options == nullptr) throw assay::usage_error("assay_open", "NULL", "options");
    if (options->size < offsetof(assay_options, print) + sizeof options->print) {
      throw assay::usage_error("assay_open", fmt::format("size {}", options->size),
                               "sizeof(assay_options)");
    }
    if (!(options->tolerance >= 0)) {
      throw assay::usage_error("assay_open", fmt::format("tolerance {}", options->tolerance),
                               "a relative L2 not below 0");
    }
    if (options->stop < ASSAY_STOP_NEVER || options->stop > ASSAY_STOP_ABORT) {
      throw assay::usage_error("assay_open", fmt::format("stop {}", options->stop),
                               "one of assay_stop");
    }
    assay::CheckerOptions wanted;
    wanted.reference = text_or_empty(options->reference);
    wanted.prompt = text_or_empty(options->prompt);
    wanted.record = text_or_empty(options->record);
    wanted.map = text_or_empty(options->map);
    if (options->profile != nullptr) wanted.profile = options->profile;
    if (options->tolerance != 0) wanted.tolerance = options->tolerance;
    // A caller of an older version has not the last fields.
    const auto has = [&](std::size_t end) { return options->size >= end; };
    if (has(offsetof(assay_options, as) + sizeof options->as)) {
      wanted.as = text_or_empty(options->as);
    }
    if (has(offsetof(assay_options, model) + sizeof options->model)) {
      wanted.model = text_or_empty(options->model);
    }
    const bool strict =
        has(offsetof(assay_options, strict) + sizeof options->strict) && options->strict != 0;
    auto handle = std::make_unique<assay_checker>();
    handle->checker = std::make_unique<assay::Checker>(std::move(wanted));
    handle->stop = options->stop;
    handle->print = options->print != 0;
    handle->strict = strict;
    return handle.release();
  });
}

assay_checker* assay_open_environment(void) {
  const auto get = [](const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr || *value == '\0' ? nullptr : value;
  };
  if (get("ASSAY_REFERENCE") == nullptr && get("ASSAY_RECORD") == nullptr) {
    last_message.clear();
    return nullptr;
  }
  int stop = ASSAY_STOP_NEVER;
  assay_checker* checker = guarded<assay_checker*>(nullptr, [&] {
    stop = stop_of(text_or_empty(get("ASSAY_STOP")));
    const assay_options options = {
        .size = sizeof(assay_options),
        .reference = get("ASSAY_REFERENCE"),
        .prompt = get("ASSAY_PROMPT"),
        .record = get("ASSAY_RECORD"),
        .map = get("ASSAY_MAP"),
        .profile = get("ASSAY_PROFILE"),
        .tolerance = 0,
        .stop = stop,
        .print = 1,
        .as = get("ASSAY_AS"),
        .strict = flag_of("ASSAY_STRICT", text_or_empty(get("ASSAY_STRICT"))),
        .model = get("ASSAY_MODEL"),
    };
    return assay_open(&options);
  });
  if (checker != nullptr) return checker;
  std::string problem = std::move(last_message);
  guarded(0, [&] {
    say(fmt::format("assay: error: {}\n", problem));
    return 0;
  });
  if (stop != ASSAY_STOP_NEVER) std::_Exit(static_cast<int>(assay::ErrorKind::kInput));
  checker = guarded<assay_checker*>(nullptr, [&] {
    auto handle = std::make_unique<assay_checker>();
    handle->problem = problem;
    return handle.release();
  });
  if (checker != nullptr) last_message = std::move(problem);
  return checker;
}

int assay_wants(const assay_checker* checker, const char* name) {
  if (checker == nullptr || name == nullptr) return 0;
  return guarded(0, [&] { return checker->opened().wants(name) ? 1 : 0; });
}

assay_verdict assay_set_positions(assay_checker* checker, int64_t first, int64_t count) {
  if (checker == nullptr) return ASSAY_NOT_COMPARED;
  const assay_verdict verdict = guarded(ASSAY_ERROR, [&] {
    checker->opened().set_positions(first, count);
    return ASSAY_PASS;
  });
  if (verdict == ASSAY_ERROR) checker->any_error = true;
  return verdict;
}

assay_verdict assay_check(assay_checker* checker, const char* name, const void* data, int dtype,
                          int rank, const int64_t* shape, const int64_t* strides,
                          assay_result* result) {
  TensorResult outcome;
  outcome.verdict = Verdict::kError;
  if (checker == nullptr) {
    last_message.clear();
    outcome.verdict = Verdict::kNotCompared;
    fill(result, outcome);
    return ASSAY_NOT_COMPARED;
  }
  guarded(0, [&] {
    if (name == nullptr) throw assay::usage_error("assay_check", "name NULL", "a name");
    const assay::Strided tensor(name, data, dtype, rank, shape, strides);
    outcome = checker->opened().check(tensor.view());
    return 0;
  });
  try {
    if (last_message.empty()) last_message = assay::visible(outcome.reason);
  } catch (const std::bad_alloc&) {
    last_message = "out of memory";
  }
  const bool bad = outcome.verdict == Verdict::kFail || outcome.verdict == Verdict::kError ||
                   (checker->strict && outcome.verdict == Verdict::kCoarse);
  if (outcome.verdict == Verdict::kError) checker->any_error = true;
  if (bad && checker->print) {
    try {
      say(fmt::format("assay: {}: {}: {}\n", name == nullptr ? "?" : assay::shown(name).c_str(),
                      assay::verdict_name(outcome.verdict), last_message));
    } catch (const std::bad_alloc&) {
      hand_to_reporter("assay: out of memory\n");
    }
  }
  if (bad) stop_if_wished(*checker);
  fill(result, outcome);
  return c_verdict(outcome.verdict);
}

const char* assay_report_text(const assay_checker* checker) {
  if (checker == nullptr) return nullptr;
  return guarded<const char*>(nullptr, [&] {
    last_report = final_text(*checker);
    return last_report.c_str();
  });
}

const char* assay_report_json(const assay_checker* checker) {
  if (checker == nullptr) return nullptr;
  return guarded<const char*>(nullptr, [&] {
    last_report = assay::json_text(assay::compare_json(checker->opened().report()), 2);
    return last_report.c_str();
  });
}

assay_verdict assay_close(assay_checker* checker) {
  if (checker == nullptr) return ASSAY_NOT_COMPARED;
  const bool written = finish(*checker);
  std::string problem = std::move(last_message);
  const assay_verdict verdict = guarded(ASSAY_ERROR, [&] {
    const assay::CompareReport report = checker->opened().report();
    if (!written || checker->any_error) return ASSAY_ERROR;
    if (report.prompts.empty() || !assay::compared_anything(report.prompts[0])) {
      return ASSAY_NOT_COMPARED;
    }
    if (!report.passed || (checker->strict && report.coarse)) return ASSAY_FAIL;
    return report.coarse ? ASSAY_COARSE : ASSAY_PASS;
  });
  if (last_message.empty()) last_message = std::move(problem);
  delete checker;
  return verdict;
}

const char* assay_message(void) { return last_message.c_str(); }

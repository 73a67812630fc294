#include "chat/python.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/expect_error.h"
#include "chat/render_script.h"

namespace assay {
namespace {

using std::chrono::milliseconds;

TEST(Python, PassesInputAndOutput) {
  const std::string large(3'000'000, 'y');
  EXPECT_EQ(run_python("import sys; sys.stdout.write(sys.stdin.read())", large, "x"), large);
  // One that reads nothing, and one that talks on standard error meanwhile.
  EXPECT_EQ(run_python("print(7)", large, "x"), "7\n");
  EXPECT_EQ(run_python("import sys; sys.stderr.write('z' * 1000000); print(7)", "", "x"), "7\n");
}

TEST(Python, IsIsolated) {
  EXPECT_EQ(run_python("import sys; print(sys.flags.isolated, '' in sys.path)", "", "x"),
            "1 False\n");
}

TEST(Python, IsKilledWhenItRunsAway) {
  const auto start = std::chrono::steady_clock::now();
  for (const char* script :
       {"while True: pass", "import os, time\nos.close(1)\nos.close(2)\ntime.sleep(60)",
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass"}) {
    expect_error(ErrorKind::kInput, {"a template", "still running", "0.3 s"},
                 [&] { run_python(script, "", "a template", {milliseconds(300)}); });
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
  expect_error(ErrorKind::kInput, {"a template", "endless text", "1.0 MB"}, [] {
    run_python("while True: print('x' * 1000)", "", "a template", {milliseconds(20000), 1000000});
  });
}

TEST(Python, StopsATemplateThatRunsAway) {
  const std::string request = R"({"templates": {"default": "{% for i in range(99999) %}
    {% for j in range(99999) %}{% set x = i * j %}{% endfor %}{% endfor %}"}, "variables": {},
    "conversations": [{"template": "default", "messages": [{"role": "user"}], "tools": null}]})";
  expect_error(ErrorKind::kInput, {"a template", "still running", "1.5 s"}, [&] {
    std::string json = request;
    std::ranges::replace(json, '\n', ' ');
    run_python(render_script(), json, "a template", {milliseconds(1500)});
  });
}

TEST(Python, FailuresCarryItsLastWord) {
  expect_error(ErrorKind::kSystem, {"python3", "exit code 1", "ValueError: too bad"},
               [] { run_python("raise ValueError('too bad')", "", "x"); });
  expect_error(ErrorKind::kSystem, {"python3", "signal 9"},
               [] { run_python("import os; os.kill(os.getpid(), 9)", "", "x"); });
}

}  // namespace
}  // namespace assay

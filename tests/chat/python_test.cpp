#include "chat/python.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <string>
#include <thread>

#include "base/expect_error.h"
#include "base/temporary_directory.h"
#include "chat/render_script.h"

namespace assay {
namespace {

using std::chrono::milliseconds;

TEST(Python, PassesInputAndOutput) {
  const std::string large(3'000'000, 'y');
  EXPECT_EQ(run_python("import sys; sys.stdout.write(sys.stdin.read())", large, "x"), large);
  // One that reads nothing, and one that keeps writing to standard error.
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
  expect_error(ErrorKind::kInput, {"a template", "too much output", "1.0 MB"}, [] {
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

// A vulnerable Jinja2 is detected by what it allows, whatever its version.
TEST(Python, AnOpenSandboxRendersNothing) {
  std::string script(render_script());
  const std::string_view sandbox = "jinja2.sandbox.ImmutableSandboxedEnvironment(";
  script.replace(script.find(sandbox), sandbox.size(), "jinja2.Environment(");
  const std::string request = R"({"templates": {"default": "x"}, "variables": {}, "conversations": [
    {"template": "default", "messages": [{"role": "user"}], "tools": null}]})";
  const std::string open = run_python(script, request, "x");
  EXPECT_NE(open.find("lets a template out of its sandbox"), std::string::npos) << open;
  EXPECT_EQ(run_python(render_script(), request, "x"), R"({"texts": ["x"]})");
}

// Gone, or a zombie.
bool has_ended(pid_t process) {
  std::ifstream status("/proc/" + std::to_string(process) + "/stat");
  std::string pid;
  std::string name;
  std::string state;
  return !(status >> pid >> name >> state) || state == "Z" || state == "X";
}

TEST(Python, DoesNotOutliveTheProgram) {
  const TemporaryDirectory directory;
  const std::string file = directory / "pid";
  const pid_t program = ::fork();
  if (program == 0) {
    const std::string script = "import os\nwith open('" + file +
                               ".new', 'w') as f: f.write(str(os.getpid()))\n" + "os.rename('" +
                               file + ".new', '" + file + "')\n" + std::string(render_script());
    const std::string request = R"({"templates": {"default": "{% for i in range(99999) %})"
                                R"({% for j in range(99999) %}{% endfor %}{% endfor %}"},)"
                                R"("variables": {}, "conversations": [{"template": "default",)"
                                R"("messages": [{"role": "user"}], "tools": null}]})";
    run_python(script, request, "x");
    std::_Exit(0);
  }
  pid_t child = 0;
  for (int i = 0; i < 2000 && child == 0; ++i) {
    std::ifstream(file) >> child;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  ASSERT_GT(child, 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(500));  // it is rendering by now
  EXPECT_FALSE(has_ended(child));
  ::kill(program, SIGKILL);
  ::waitpid(program, nullptr, 0);
  for (int i = 0; i < 1000 && !has_ended(child); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_TRUE(has_ended(child));
}

TEST(Python, FailuresCarryItsLastWord) {
  expect_error(ErrorKind::kSystem, {"python3", "exit code 1", "ValueError: too bad"},
               [] { run_python("raise ValueError('too bad')", "", "x"); });
  expect_error(ErrorKind::kSystem, {"python3", "signal 9"},
               [] { run_python("import os; os.kill(os.getpid(), 9)", "", "x"); });
}

}  // namespace
}  // namespace assay

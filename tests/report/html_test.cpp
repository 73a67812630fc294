// The HTML report, opened from disk in a real browser without a network.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "assay/npz.h"
#include "cli/program.h"

namespace assay {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

std::string chromium() {
  for (const char* name : {"chromium", "chromium-browser", "google-chrome"}) {
    if (std::system(fmt::format("command -v {} >/dev/null", name).c_str()) == 0) return name;
  }
  return "";
}

std::string printed_by(const std::string& command) {
  std::string text;
  std::FILE* pipe = ::popen(command.c_str(), "r");
  std::array<char, 4096> buffer;
  std::size_t n = 0;
  while ((n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0) text.append(buffer.data(), n);
  ::pclose(pipe);
  return text;
}

void replace_first(std::string& text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  text.replace(at, from.size(), to);
}

std::string unescaped(std::string text) {
  for (const auto& [from, to] : {std::pair<std::string, std::string>{"&lt;", "<"},
                                 {"&gt;", ">"},
                                 {"&nbsp;", " "},
                                 {"&amp;", "&"}}) {
    for (std::size_t at = 0; (at = text.find(from, at)) != text.npos; at += to.size()) {
      text.replace(at, from.size(), to);
    }
  }
  return text;
}

class HtmlReport : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = new TemporaryDirectory;
    const Result made = run_program(
        {"extract", "--numerics", "bf16,f64", "--taps", "layer_*_*_norm,layer_05_*", "--prompt",
         "The capital of France is", "--prompt", "Hello", "--out", *directory_ / "ref"});
    ASSERT_EQ(made.exit_code, 0) << made.err;
  }
  static void TearDownTestSuite() { delete directory_; }
  static fs::path ref() { return *directory_ / "ref"; }

  // The reference's arrays, with those of the first prompt wrong from layer 5's query norm on, in
  // one logit, and in the text.
  static fs::path wrong() {
    const fs::path out = *directory_ / "wrong";
    fs::create_directories(out);
    for (const char* id : {"prompt1", "prompt2"}) {
      const NpzReader npz(ref() / id / "reference.npz");
      std::vector<Array> arrays;
      std::vector<ArrayView> views;
      arrays.reserve(npz.names().size());
      for (const std::string& name : npz.names()) {
        Array& array = arrays.emplace_back(npz.read(name));
        if (std::string(id) == "prompt1") {
          if (name == "layer_05_q_norm" || name == "layer_05_q_rope") {
            for (float& x : array.as<float>()) x *= 1.5F;
            array.as<float>()[3] = NAN;
          }
          if (name == "logits") array.as<float>()[array.as<float>().size() - 2560 + 300] = 40;
          if (name == "generated_ids") array.as<std::int64_t>()[9] = 300;
        }
        views.push_back(array.view());
      }
      write_npz(out / fmt::format("{}.npz", id), views);
    }
    return out;
  }

  // What the probe reads from the page.
  static json open(const fs::path& candidate, const std::vector<std::string>& more = {},
                   int pixels = 1280) {
    const fs::path page = *directory_ / "report.html";
    std::vector<std::string> words = {"compare", ref(), candidate, "--html", page};
    words.insert(words.end(), more.begin(), more.end());
    const Result made = run_program(words);
    EXPECT_LE(made.exit_code, 1) << made.err;
    std::string html = read_text(page);
    EXPECT_EQ(html.find("src="), std::string::npos) << "refers to something outside";
    const std::string here = ASSAY_TEST_DATA "/report/";
    replace_first(html, "<style>", "<script>" + read_text(here + "listen.js") + "</script><style>");
    replace_first(html, "</body>", "<script>" + read_text(here + "probe.js") + "</script></body>");
    write_text(*directory_ / "probed.html", html);
    const std::string dom = printed_by(fmt::format(
        "{} --headless --no-sandbox --disable-gpu --user-data-dir={} --window-size={},1600 "
        "--host-resolver-rules='MAP * ~NOTFOUND' --virtual-time-budget=20000 --dump-dom "
        "file://{} 2>/dev/null",
        chromium(), (*directory_ / "profile").string(), pixels,
        (*directory_ / "probed.html").string()));
    const std::size_t begin = dom.find("<pre id=\"seen\">");
    const std::size_t end = dom.find("</pre>", begin);
    if (begin == dom.npos || end == dom.npos) {
      ADD_FAILURE() << "no answer from the browser: " << dom.substr(0, 2000);
      return {};
    }
    return json::parse(unescaped(dom.substr(begin + 15, end - begin - 15)));
  }

  static TemporaryDirectory* directory_;
};
TemporaryDirectory* HtmlReport::directory_ = nullptr;

std::int64_t most(const json& marks) {
  std::int64_t count = 0;
  for (const json& n : marks) count = std::max(count, n.get<std::int64_t>());
  return count;
}

TEST_F(HtmlReport, ShowsAFailureInABrowser) {
  ASSERT_NE(chromium(), "") << "no browser: scripts/install-deps test";
  const json seen = open(wrong(), {"--model", ASSAY_ROOT "/models/tiny-qwen3"});
  ASSERT_TRUE(seen.contains("problems")) << seen;
  EXPECT_EQ(seen["problems"], json::array()) << seen["problems"];
  ASSERT_TRUE(seen.contains("milliseconds"));
  EXPECT_EQ(seen["resources"], json::array());
  EXPECT_EQ(seen["title"], "FAIL: Assay compare");
  EXPECT_EQ(seen["verdict"], "FAIL");
  EXPECT_EQ(seen["prompts"], (json{"✗ prompt1", "✓ prompt2"}));
  const std::string findings = seen["findings"];
  EXPECT_NE(findings.find("First divergence: layer_05_q_norm"), std::string::npos) << findings;
  EXPECT_NE(findings.find("look at the RMSNorm of the queries"), std::string::npos);
  EXPECT_NE(findings.find("The dump: layer_05_q_norm: 1 of 640 elements are NaN"),
            std::string::npos)
      << findings;

  // What was compared, and the tokens at the positions.
  const std::string facts = seen["facts"];
  for (const char* fact :
       {"tiny-qwen3 (qwen3)", "SHA-256 32e98691", "bf16 with f64 oracle", "UTC by assay"}) {
    EXPECT_NE(facts.find(fact), std::string::npos) << facts;
  }
  EXPECT_EQ(seen["overview"].size(), 2u);
  EXPECT_NE(seen["overview"][0].get<std::string>().find("faillayer_05_q_norm"), std::string::npos)
      << seen["overview"];
  EXPECT_EQ(seen["position_labels"].size(), 5u);
  EXPECT_EQ(seen["position_labels"][1], "1 ␣capital");
  EXPECT_EQ(seen["cut_off"], 0) << "tables that are wider than their place";
  EXPECT_LE(seen["width"][0], seen["width"][1]);

  // The charts have marks: embedding, 28 layers, final norm, logits; noise and limit are drawn.
  const json& charts = seen["charts"];
  EXPECT_EQ(charts["errors"]["marks"], (json{31, 31, 31}));
  EXPECT_EQ(charts["errors"]["labels"], (json{"candidate", "noise of the reference", "limit"}));
  EXPECT_EQ(charts["errors"]["columns"], 31);
  EXPECT_EQ(charts["errors"]["y"], "logarithmic");
  EXPECT_EQ(charts["heat"]["marks"].size(), 31u);
  EXPECT_EQ(most(charts["heat"]["marks"]), 5);
  EXPECT_EQ(charts["within"]["marks"][0], 19);
  EXPECT_GT(most(charts["histogram"]["marks"]), 20);
  EXPECT_EQ(charts["positions"]["marks"], json{5});
  for (const auto& [id, chart] : charts.items()) {
    EXPECT_GT(chart["colors"], 3) << id << " is blank";
    EXPECT_NE(chart["said"], "") << id;
  }
  EXPECT_EQ(seen["rows"].size(), 31u + 2);  // and the two rotary tables
  EXPECT_EQ(seen["shown_first"], "layer_05_q_norm fail");
  EXPECT_EQ(seen["worst"], 10);

  // Tokens as text, and the first difference.
  const std::string best = seen["best"];
  EXPECT_NE(best.find("␣Paris"), std::string::npos) << best;
  EXPECT_NE(best.find("300"), std::string::npos);
  EXPECT_NE(seen["text_summary"].get<std::string>().find("First difference at position 9"),
            std::string::npos);
  EXPECT_EQ(seen["tokens"].size(), 20u);
  EXPECT_EQ(seen["tokens"][3][0], "match");
  EXPECT_EQ(seen["tokens"][4][0], "diverged first");

  // Clicking a layer, a tap and a point shows the detail; so do the keys.
  EXPECT_EQ(seen["after_layer"].get<std::string>().find("layer_03_"), 0u) << seen["after_layer"];
  EXPECT_GT(seen["after_layer_charts"][0]["colors"], 3);
  EXPECT_EQ(seen["after_point"].get<std::string>().find("layer_07_"), 0u) << seen["after_point"];
  EXPECT_EQ(seen["address"].get<std::string>().find("#prompt1/layer_07_"), 0u);
  EXPECT_EQ(seen["focused"], "layer 1");
  EXPECT_EQ(seen["after_enter"].get<std::string>().find("layer_00_"), 0u) << seen["after_enter"];
  EXPECT_EQ(seen["focus_kept"], "layer 0");
  EXPECT_EQ(seen["after_f"], "layer_05_q_norm fail");

  EXPECT_EQ(seen["output_marks"], (json{31, 31, 31}));
  EXPECT_EQ(seen["mse"], "MSE of 33 taps on a logarithmic axis");  // with the tables
  EXPECT_EQ(seen["theme_changed"], true);
  EXPECT_GT(seen["themed"]["colors"], 3);
  EXPECT_NE(seen["last_prompt"][2].get<std::string>().find("compared arrays pass"),
            std::string::npos);
  EXPECT_NE(seen["first_position"].get<std::string>().find("candidate"), std::string::npos);
}

// Of two failing prompts it shows the one with more failures, and in a layer the tensor with the
// largest error, not the first; on a phone too.
TEST_F(HtmlReport, OpensOnWhatShowsMost) {
  ASSERT_NE(chromium(), "") << "no browser: scripts/install-deps test";
  const fs::path out = *directory_ / "both";
  fs::create_directories(out);
  for (const std::string id : {"prompt1", "prompt2"}) {
    const NpzReader npz(ref() / id / "reference.npz");
    std::vector<Array> arrays;
    std::vector<ArrayView> views;
    arrays.reserve(npz.names().size());
    for (const std::string& name : npz.names()) {
      Array& array = arrays.emplace_back(npz.read(name));
      // Everything after the wrong activation is wrong; otherwise the engine did not compute with
      // it.
      const bool after = name == "layer_05_mlp_output" || name == "layer_05_output" ||
                         (name.starts_with("layer_") && name > "layer_06") ||
                         name == "final_norm_output" || name == "logits";
      const float by = name == "layer_05_q_proj"    ? 1.5F
                       : name == "layer_05_mlp_act" ? 9.0F
                       : after                      ? 3.0F
                                                    : 1.0F;
      if (by != 1.0F && (id == "prompt2" || name == "layer_05_q_proj")) {
        for (float& x : array.as<float>()) x *= by;
      }
      views.push_back(array.view());
    }
    write_npz(out / (id + ".npz"), views);
  }
  const json seen = open(out, {}, 390);
  EXPECT_EQ(seen["problems"], json::array()) << seen["problems"];
  EXPECT_EQ(seen["opened"], "✗ prompt2");
  const auto row = std::ranges::find_if(seen["rows"], [](const json& text) {
    return text.get<std::string>().starts_with("layer 5");
  });
  ASSERT_NE(row, seen["rows"].end());
  EXPECT_TRUE(row->get<std::string>().starts_with("layer 5mlp_actfail")) << *row;
  EXPECT_LE(seen["width"][0], seen["width"][1]) << "the page scrolls sideways";
}

TEST_F(HtmlReport, ShowsAPassWithoutOracleModelOrText) {
  ASSERT_NE(chromium(), "") << "no browser: scripts/install-deps test";
  // Only layer outputs, and a name that could end the script element that contains it.
  const NpzReader npz(ref() / "prompt1/reference.npz");
  Array a = npz.read("layer_05_output");
  Array b = npz.read("layer_07_output");
  Array odd = npz.read("layer_06_output");
  odd.name = "</script><script>problems.push(1)</script>";
  write_npz(*directory_ / "few.npz", std::vector<ArrayView>{a.view(), b.view(), odd.view()});
  const json seen = open(*directory_ / "few.npz", {"--profile", "table", "--prompt", "prompt1"});
  EXPECT_EQ(seen["problems"], json::array()) << seen["problems"];
  EXPECT_EQ(seen["title"], "PASS: Assay compare");
  EXPECT_EQ(seen["prompts"], json{"✓ prompt1"});
  EXPECT_EQ(seen["charts"]["errors"]["marks"], (json{2, 2}));  // and the limit of layer_05
  EXPECT_EQ(seen["charts"]["within"], nullptr);
  EXPECT_EQ(seen["sections"], (json{{"logits", false}, {"text", false}}));
  EXPECT_EQ(seen["rows"].size(), 2u);
  EXPECT_NE(seen["findings"].get<std::string>().find("problems.push(1)"), std::string::npos);
  const fs::path page = *directory_ / "report.html";
  EXPECT_EQ(read_text(page).find("</script><script>problems"), std::string::npos);
}

}  // namespace
}  // namespace assay

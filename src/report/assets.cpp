#include "report/assets.h"

// The assembler puts a file's bytes between two symbols; C++20 has no #embed. The build names the
// files.
#define ASSAY_ASSET(name, file)                                                           \
  __asm__(                                                                                \
      ".pushsection .rodata\n"                                                            \
      ".hidden assay_asset_" #name                                                        \
      "\n"                                                                                \
      ".hidden assay_asset_" #name                                                        \
      "_end\n"                                                                            \
      ".global assay_asset_" #name                                                        \
      "\n"                                                                                \
      ".global assay_asset_" #name                                                        \
      "_end\n"                                                                            \
      "assay_asset_" #name                                                                \
      ":\n"                                                                               \
      ".incbin \"" file                                                                   \
      "\"\n"                                                                              \
      "assay_asset_" #name                                                                \
      "_end:\n"                                                                           \
      ".popsection\n");                                                                   \
  extern "C" __attribute__((visibility("hidden"))) const char assay_asset_##name[];       \
  extern "C" __attribute__((visibility("hidden"))) const char assay_asset_##name##_end[]; \
  std::string_view assay::name() { return {assay_asset_##name, assay_asset_##name##_end}; }

ASSAY_ASSET(page_html, ASSAY_HTML_DIRECTORY "/page.html")
ASSAY_ASSET(page_css, ASSAY_HTML_DIRECTORY "/page.css")
ASSAY_ASSET(page_js, ASSAY_HTML_DIRECTORY "/page.js")
ASSAY_ASSET(charts_js, ASSAY_HTML_DIRECTORY "/charts.js")
ASSAY_ASSET(chart_library_js, ASSAY_CHART_JS)

// Files that are embedded into the program: see assets.cpp.
#pragma once

#include <string_view>

namespace assay {

// The HTML report's page, style and scripts (src/report/html), and Chart.js as the distribution
// ships it; empty in a build without ASSAY_HTML_REPORT.
std::string_view page_html();
std::string_view page_css();
std::string_view charts_js();
std::string_view report_js();
std::string_view sections_js();
std::string_view page_js();
std::string_view chart_library_js();

}  // namespace assay

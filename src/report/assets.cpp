#include "report/assets.h"

#include "base/embed.h"

ASSAY_EMBED(page_html, ASSAY_HTML_DIRECTORY "/page.html")
ASSAY_EMBED(page_css, ASSAY_HTML_DIRECTORY "/page.css")
ASSAY_EMBED(charts_js, ASSAY_HTML_DIRECTORY "/charts.js")
ASSAY_EMBED(report_js, ASSAY_HTML_DIRECTORY "/report.js")
ASSAY_EMBED(sections_js, ASSAY_HTML_DIRECTORY "/sections.js")
ASSAY_EMBED(page_js, ASSAY_HTML_DIRECTORY "/page.js")
#ifdef ASSAY_CHART_JS
ASSAY_EMBED(chart_library_js, ASSAY_CHART_JS)
#else
std::string_view assay::chart_library_js() { return ""; }
#endif

# The files that src/report/assets.cpp embeds into the program.
set(html ${CMAKE_CURRENT_SOURCE_DIR}/src/report/html)
find_file(ASSAY_CHART_JS chart.min.js PATHS /usr/share/javascript/chart.js REQUIRED NO_DEFAULT_PATH
  DOC "Chart.js 3, minified (Debian: libjs-chart.js)")
set_source_files_properties(src/report/assets.cpp PROPERTIES
  COMPILE_DEFINITIONS "ASSAY_HTML_DIRECTORY=\"${html}\";ASSAY_CHART_JS=\"${ASSAY_CHART_JS}\""
  OBJECT_DEPENDS "${html}/page.html;${html}/page.css;${html}/page.js;${html}/charts.js;${ASSAY_CHART_JS}")

# The files that src/report/assets.cpp embeds into the program.
set(html ${CMAKE_CURRENT_SOURCE_DIR}/src/report/html)
set(definitions "ASSAY_HTML_DIRECTORY=\"${html}\"")
set(files ${html}/page.html ${html}/page.css ${html}/charts.js ${html}/report.js
  ${html}/sections.js ${html}/page.js)
if(ASSAY_HTML_REPORT)
  find_file(ASSAY_CHART_JS chart.min.js PATHS /usr/share/javascript/chart.js REQUIRED NO_DEFAULT_PATH
    DOC "Chart.js 3, minified (Debian: libjs-chart.js)")
  list(APPEND definitions "ASSAY_CHART_JS=\"${ASSAY_CHART_JS}\"")
  list(APPEND files ${ASSAY_CHART_JS})
elseif(ASSAY_BUILD_TESTS)
  message(FATAL_ERROR "ASSAY_BUILD_TESTS is on and ASSAY_HTML_REPORT off: the tests need the report")
endif()
set_source_files_properties(src/report/assets.cpp PROPERTIES
  COMPILE_DEFINITIONS "${definitions}" OBJECT_DEPENDS "${files}")

#!/usr/bin/env bash
# Configures a project that has Assay inside, and builds what needs no other part of Assay's: a source
# that uses both APIs, and the module that holds the report, without Chart.js.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() { echo "try_subproject: $1" >&2; exit 1; }

cmake -G Ninja -S "$here/subproject" -B "$scratch" -DASSAY_ROOT="$here/../.." >/dev/null
if grep -q -e -Werror "$scratch/build.ninja"; then fail "-Werror in a project around Assay"; fi
if grep -q -e '^ASSAY_CHART_JS' -e '-DASSAY_CHART_JS' "$scratch/build.ninja" "$scratch/CMakeCache.txt"; then
  fail "Chart.js in a project around Assay"
fi
cmake --build "$scratch" --target CMakeFiles/engine.dir/engine.cpp.o \
  assay/CMakeFiles/assay_report.dir/src/report/assets.cpp.o >/dev/null
echo "configured, built"

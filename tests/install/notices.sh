#!/usr/bin/env bash
# Every library that CMake links is in THIRD_PARTY_NOTICES.md, every licence named there has its text, and the
# program prints both. Arguments: the build directory, the program.
set -euo pipefail
build=$1
program=$2
root=$(cd "$(dirname "$0")/../.." && pwd)
notices=$root/THIRD_PARTY_NOTICES.md

fail() { echo "notices: $1" >&2; exit 1; }

[ "$(wc -l <"$build/linked-libraries.txt")" -ge 8 ] || fail "CMake names too few libraries"
missing=$(while read -r library; do
  grep -qF "| \`$library\` |" "$notices" || echo "$library"
done <"$build/linked-libraries.txt")
[ -z "$missing" ] || fail "THIRD_PARTY_NOTICES.md lacks what is linked: $missing"
for text in 'MIT' 'BSD 3-clause: CLI11' 'BSD 3-clause: PCRE2' 'BSD 3-clause: ISA-L' 'BSD 3-clause: nanobind' \
  'BSD 3-clause: isadetection' 'Unicode'; do
  grep -q "^## $text" "$notices" || fail "no text of $text"
done
cmp <("$program" --licenses) <(cat "$notices" "$root/LICENSE") || fail "--licenses prints something else"
version=$(sed -n 's/^project(assay VERSION \([0-9.]*\) .*/\1/p' "$root/CMakeLists.txt")
"$program" --version | grep -q "^assay ${version//./\\.}\( (commit [0-9a-f]*)\)\?$" ||
  fail "--version says $("$program" --version), and CMakeLists.txt $version"
echo "all libraries are named"

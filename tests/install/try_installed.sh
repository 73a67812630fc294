#!/usr/bin/env bash
# Installs into a prefix, moves that, and uses what is there: the program with its bundled model, the C++
# example through CMake, the libraries through pkg-config, every public header by itself.
# Argument: the build directory.
set -euo pipefail
build=$1
root=$(cd "$(dirname "$0")/../.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() { echo "try_installed: $1" >&2; exit 1; }

cmake --install "$build" --prefix "$scratch/first" >/dev/null
mv "$scratch/first" "$scratch/moved"
prefix=$scratch/moved
PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name libassay.so)")/pkgconfig
export PKG_CONFIG_PATH
if grep -rl -e "$scratch/first" -e "$build" "$prefix" --include=*.cmake --include=*.pc; then
  fail "these name directories that do not exist after the move"
fi

# Not the model in the source tree, which is there as well.
"$prefix/bin/assay" doctor >"$scratch/doctor" || { cat "$scratch/doctor"; fail "doctor"; }
[ -s "$prefix/share/assay/SKILL.md" ] || fail "SKILL.md is not installed"
tr -d ' \n' <"$scratch/doctor" | grep -q "^checkpoint$prefix/share/assay/models/tiny-qwen3" ||
  { cat "$scratch/doctor"; fail "the bundled model is not the one that was moved"; }
"$prefix/bin/assay" extract --max-new-tokens 1 --prompt Hello --out "$scratch/extracted" >/dev/null

for file in man/man1/assay.1 man/man1/assay-compare.1 bash-completion/completions/assay \
  zsh/site-functions/_assay fish/vendor_completions.d/assay.fish assay/schema/compare-1.schema.json; do
  [ -s "$prefix/share/$file" ] || fail "no share/$file"
done

warnings=(-Wall -Wextra -Wpedantic -Werror)
(cd "$prefix/include" && printf '#include "%s"\n' assay/*.h) >"$scratch/names"
[ "$(wc -l <"$scratch/names")" -ge 8 ] || fail "the headers of the C++ API are missing"
while read -r line; do
  # Twice, for its guard.
  printf '%s\n%s\n' "$line" "$line" >"$scratch/header.cpp"
  c++ -std=c++20 "${warnings[@]}" -fsyntax-only -I "$prefix/include" "$scratch/header.cpp"
done <"$scratch/names"

# The loader finds a shared library in a place of its own through the rpath that assay.pc advises.
cc -std=c99 "${warnings[@]}" "$root/examples/first_layer.c" $(pkg-config --cflags --libs assay) -lm \
  -Wl,-rpath,"$(pkg-config --variable=libdir assay)" -o "$scratch/first_layer"
env -u LD_LIBRARY_PATH "$scratch/first_layer" "$root/models/tiny-qwen3/model.safetensors" 1 2 ||
  fail "the C example"

cmake -S "$root/examples/cpp_api" -B "$scratch/example" -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
cmake --build "$scratch/example" >/dev/null
"$scratch/example/cpp_api" "$prefix/share/assay/models/tiny-qwen3" "$scratch/run" \
  >"$scratch/output" || { cat "$scratch/output"; fail "exit code of cpp_api"; }
for line in '^compare: fail$' 'prompt1: layer_00_input_norm: noise ratio' \
  '^check: embedding_output: pass$' '^check: layer_00_input_norm: fail$' '^diagnose: named$'; do
  grep -q -- "$line" "$scratch/output" || { cat "$scratch/output"; fail "no '$line'"; }
done

c++ -std=c++20 "$scratch"/example/CMakeFiles/cpp_api.dir/main.cpp.o \
  $(pkg-config --libs assay-core) -o "$scratch/cpp_api"
"$scratch/cpp_api" 2>/dev/null && fail "cpp_api takes no arguments"
[ $? -eq 2 ] || fail "cpp_api, linked through pkg-config"
echo "installed, moved, used"

#!/usr/bin/env bash
# Builds an example against an installed Assay, as its users would, and runs it right and wrong.
# Arguments: c | cpp | rust | python, and the build directory.
set -euo pipefail
language=$1
build=$2
root=$(cd "$(dirname "$0")/../.." && pwd)
examples=$root/examples
model=$root/models/tiny-qwen3/model.safetensors
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() { echo "try_example: $language: $1" >&2; exit 1; }

cmake --install "$build" --prefix "$scratch/prefix" >/dev/null
lib=$(dirname "$(find "$scratch/prefix" -name libassay.so)")
export PKG_CONFIG_PATH=$lib/pkgconfig LD_LIBRARY_PATH=$lib
"$scratch/prefix/bin/assay" extract --model "$root/models/tiny-qwen3" --numerics bf16,f64 \
  --taps 'layer_00_*' --prompt 'The capital of France is' --out "$scratch/reference" >/dev/null
ids=$(tr -d ' \n' <"$scratch/reference/manifest.json" | grep -o '"input_ids":\[[0-9,]*\]' |
  head -1 | tr -dc '0-9,' | tr ',' ' ')
[ -n "$ids" ] || fail "no ids in the manifest"

case "$language" in
  c)
    cc -std=c99 -Wall -Wextra -Wpedantic -Werror "$examples/first_layer.c" \
      $(pkg-config --cflags --libs assay) -lm -o "$scratch/first_layer"
    ;;
  cpp)
    cmake -S "$examples" -B "$scratch/cpp" -DCMAKE_PREFIX_PATH="$scratch/prefix" >/dev/null
    cmake --build "$scratch/cpp" >/dev/null
    mv "$scratch/cpp/first_layer" "$scratch/first_layer"
    ;;
  rust)
    command -v rustc >/dev/null || fail "no rustc (scripts/install-deps test)"
    rustc --edition 2021 -O -D warnings "$examples/first_layer.rs" -L "native=$lib" -l assay \
      -o "$scratch/first_layer"
    ;;
  python)
    printf '#!/bin/sh\nPYTHONPATH=%s exec %s %s "$@"\n' "$root/python" "${PYTHON:-python3}" \
      "$examples/first_layer.py" >"$scratch/first_layer"
    chmod +x "$scratch/first_layer"
    ;;
  *) fail "unknown language" ;;
esac

# What the mistake planted in each must be called.
declare -A mistakes=([c]=layer_00_input_norm [cpp]=layer_00_input_norm [rust]=layer_00_q_proj
  [python]=layer_00_q_proj)
run() { # expected exit code, expected text, arguments
  local code=0
  "$scratch/first_layer" "${@:3}" >"$scratch/output" 2>&1 || code=$?
  [ "$code" = "$1" ] || { cat "$scratch/output"; fail "exit code $code, expected $1"; }
  [ -z "$2" ] || grep -q -- "$2" "$scratch/output" || { cat "$scratch/output"; fail "no '$2' in the output"; }
}
if [ "$language" = cpp ]; then
  run 0 'PASS: profile noise' "$scratch/reference" "$model" $ids
  run 1 "^${mistakes[cpp]}: relative L2" --wrong "$scratch/reference" "$model" $ids
else
  run 0 '' "$model" $ids
  [ "$(grep -c assay "$scratch/output")" = 0 ] || fail "checks without being asked to"
  export ASSAY_REFERENCE=$scratch/reference
  run 0 'PASS: profile noise' "$model" $ids
  run 1 "First divergence: ${mistakes[$language]}" --wrong "$model" $ids
fi
echo "$language: built, ran right and wrong"

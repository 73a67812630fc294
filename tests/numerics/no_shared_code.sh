#!/usr/bin/env bash
# Sources compiled for one instruction set may not define what the linker shares between files (inline
# and template functions): it could hand the AVX-512 copy to everybody. What clean-up after an exception
# refers to is no code. Arguments: object files.
set -euo pipefail
found=0
for object in "$@"; do
  case "$object" in *_avx*.o) ;; *) continue ;; esac
  found=1
  if nm -C "$object" | grep ' [WVu] ' | grep -v -e '_kernels<' -e ' DW\.ref\.__gxx_personality_v0$'; then
    echo "$object: defines shared code" >&2
    exit 1
  fi
done
[ "$found" = 1 ]

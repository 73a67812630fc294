#!/usr/bin/env bash
# Sources compiled for one instruction set may not define what the linker shares between files (inline
# and template functions): it could hand the AVX-512 copy to everybody. Arguments: object files.
set -euo pipefail
found=0
for object in "$@"; do
  case "$object" in *_avx*.o) ;; *) continue ;; esac
  found=1
  if nm -C "$object" | grep ' [WVu] ' | grep -v '_kernels<'; then
    echo "$object: defines shared code" >&2
    exit 1
  fi
done
[ "$found" = 1 ]

# One kernel source per instruction set, each compiled for exactly that set and chosen at run time.
# The plain one needs FMA too: the reproducible order is defined with fused multiply-adds, and SLEEF
# offers its bit-identical functions only where FMA is fast.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  # gcc 12's own AVX-512 headers trip its uninitialised-variable warnings.
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    set(quiet "-Wno-uninitialized;-Wno-maybe-uninitialized")
  endif()
  set(kernels ${CMAKE_CURRENT_SOURCE_DIR}/src/numerics)
  set_source_files_properties(${kernels}/kernels_plain.cpp ${kernels}/rope_table.cpp
    PROPERTIES COMPILE_OPTIONS "-mfma")
  set_source_files_properties(${kernels}/kernels_avx2.cpp PROPERTIES COMPILE_OPTIONS
    "-mavx2;-mfma;-mf16c")
  set(sums ${CMAKE_CURRENT_SOURCE_DIR}/src/metrics)
  set_source_files_properties(${sums}/pair_sums_plain.cpp PROPERTIES COMPILE_OPTIONS "-mfma")
  set_source_files_properties(${sums}/pair_sums_avx2.cpp PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma")
  set_source_files_properties(${sums}/pair_sums_avx512.cpp PROPERTIES COMPILE_OPTIONS
    "-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mfma;-mprefer-vector-width=512;${quiet}")
  set_source_files_properties(${sums}/pair_sums_avx512bf16.cpp PROPERTIES COMPILE_OPTIONS
    "-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512bf16;-mavx512vnni;-mfma;-mprefer-vector-width=512;${quiet}")
  set_source_files_properties(${kernels}/kernels_avx512.cpp PROPERTIES COMPILE_OPTIONS
    "-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx2;-mfma;-mf16c;-mprefer-vector-width=512;${quiet}")
  set_source_files_properties(${kernels}/kernels_avx512bf16.cpp PROPERTIES COMPILE_OPTIONS
    "-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512bf16;-mavx2;-mfma;-mf16c;-mprefer-vector-width=512;${quiet}")
endif()

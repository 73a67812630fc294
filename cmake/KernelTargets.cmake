# One kernel source per instruction set, each compiled for just that set and chosen at run time.
set(ASSAY_KERNELS ${CMAKE_CURRENT_SOURCE_DIR}/src/numerics)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set_source_files_properties(${ASSAY_KERNELS}/kernels_avx2.cpp PROPERTIES COMPILE_OPTIONS
    "-mavx2;-mfma;-mf16c")
  set_source_files_properties(${ASSAY_KERNELS}/kernels_avx512.cpp PROPERTIES COMPILE_OPTIONS
    "-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx2;-mfma;-mf16c;-mprefer-vector-width=512")
endif()

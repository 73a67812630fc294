# Every library comes from the distribution; scripts/install-deps installs them. For programs that run
# where these are not installed, scripts/static-libraries makes archives of them.
set(ASSAY_STATIC "" CACHE PATH
  "Where scripts/static-libraries was told to put its archives: link them, so that only glibc is needed")
if(ASSAY_STATIC)
  if(NOT EXISTS ${ASSAY_STATIC}/complete)
    message(FATAL_ERROR "ASSAY_STATIC: ${ASSAY_STATIC} is incomplete: run scripts/static-libraries "
                        "${ASSAY_STATIC}")
  endif()
  list(PREPEND CMAKE_PREFIX_PATH ${ASSAY_STATIC})
  set(OPENSSL_USE_STATIC_LIBS TRUE)
  add_compile_options(-ffunction-sections -fdata-sections)
  add_link_options(-static-libstdc++ -static-libgcc -Wl,--gc-sections -Wl,--exclude-libs,ALL)
endif()

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(fmt REQUIRED)
find_package(simdjson REQUIRED)

# Each as PkgConfig::assay_MODULE: no name that a project around this one may have.
foreach(module nlohmann_json libdeflate libisal libpcre2-8 libutf8proc sleef CLI11)
  pkg_check_modules(assay_${module} REQUIRED IMPORTED_TARGET ${module})
endforeach()

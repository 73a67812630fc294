# Every library comes from the distribution; scripts/install-deps installs them.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(fmt REQUIRED)
find_package(simdjson REQUIRED)

# Each as PkgConfig::assay_MODULE: no name that a project around this one may have.
foreach(module nlohmann_json libdeflate libisal libpcre2-8 libutf8proc sleef CLI11)
  pkg_check_modules(assay_${module} REQUIRED IMPORTED_TARGET ${module})
endforeach()

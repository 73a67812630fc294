# Every library comes from the distribution; scripts/install-deps installs them.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(fmt REQUIRED)
find_package(simdjson REQUIRED)

# Wraps a pkg-config module as an imported target called `name`.
function(assay_pkg name module)
  pkg_check_modules(${name} REQUIRED IMPORTED_TARGET ${module})
  add_library(${name} INTERFACE)
  target_link_libraries(${name} INTERFACE PkgConfig::${name})
endfunction()

assay_pkg(nlohmann_json nlohmann_json)
assay_pkg(libdeflate libdeflate)
assay_pkg(isal libisal)
assay_pkg(pcre2 libpcre2-8)
assay_pkg(utf8proc libutf8proc)
assay_pkg(sleef sleef)
assay_pkg(cli11 CLI11)

# What programs link to: assay::assay, the C API of include/assay.h in a shared library, for engines in
# any language; and assay::core, the C++ API of include/assay/, one archive of all modules behind it.

file(GLOB capi_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/src/capi/*.cpp)
set(capi_symbols ${CMAKE_CURRENT_SOURCE_DIR}/src/capi/assay.map)
add_library(assay_shared SHARED ${capi_sources})
add_library(assay::assay ALIAS assay_shared)
set_target_properties(assay_shared PROPERTIES OUTPUT_NAME assay EXPORT_NAME assay
  VERSION ${PROJECT_VERSION} SOVERSION 0 LINK_DEPENDS ${capi_symbols})
target_compile_definitions(assay_shared PRIVATE ASSAY_VERSION="${PROJECT_VERSION}")
target_include_directories(assay_shared INTERFACE
  $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
assay_includes(assay_shared PRIVATE capi)
target_include_directories(assay_shared PRIVATE include)
target_link_libraries(assay_shared PRIVATE assay_verify assay_report)
# Nothing but the C functions is seen from outside, and no library is needed that nothing uses.
target_link_options(assay_shared PRIVATE -Wl,--version-script=${capi_symbols}
  -Wl,--exclude-libs,ALL -Wl,--as-needed)

set(core_objects)
foreach(module base formats tokenizer chat numerics models ops model reference rewrite metrics candidate
        verify diagnose)
  list(APPEND core_objects $<TARGET_OBJECTS:assay_${module}>)
endforeach()
add_library(assay_core STATIC ${core_objects})
add_library(assay::core ALIAS assay_core)
set_target_properties(assay_core PROPERTIES EXPORT_NAME core LINKER_LANGUAGE CXX)
target_compile_features(assay_core PUBLIC cxx_std_20)
target_include_directories(assay_core INTERFACE
  $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
# assayConfig.cmake.in and assay-core.pc.in name the same.
target_link_libraries(assay_core PRIVATE Threads::Threads OpenSSL::Crypto fmt::fmt
  simdjson::simdjson PkgConfig::assay_libdeflate PkgConfig::assay_libisal
  PkgConfig::assay_libpcre2-8 PkgConfig::assay_libutf8proc PkgConfig::assay_sleef)

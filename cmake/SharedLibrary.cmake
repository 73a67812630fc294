# libassay.so: the C API of include/assay.h, for engines in any language, with a pkg-config file and a
# CMake package.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

file(GLOB capi_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/src/capi/*.cpp)
set(capi_symbols ${CMAKE_CURRENT_SOURCE_DIR}/src/capi/assay.map)
add_library(assay_shared SHARED ${capi_sources})
set_target_properties(assay_shared PROPERTIES OUTPUT_NAME assay EXPORT_NAME assay
  VERSION ${PROJECT_VERSION} SOVERSION 0 LINK_DEPENDS ${capi_symbols})
target_compile_definitions(assay_shared PRIVATE ASSAY_VERSION="${PROJECT_VERSION}")
target_include_directories(assay_shared INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(assay_shared PRIVATE assay_verify assay_report)
# Only the C functions are exported, and only libraries that are used are linked.
target_link_options(assay_shared PRIVATE -Wl,--version-script=${capi_symbols}
  -Wl,--exclude-libs,ALL -Wl,--as-needed)

install(TARGETS assay_shared EXPORT assayTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/assay.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

file(RELATIVE_PATH assay_include_from_lib /${CMAKE_INSTALL_LIBDIR} /${CMAKE_INSTALL_INCLUDEDIR})
configure_file(cmake/assay.pc.in assay.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/assay.pc
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/assay)
install(EXPORT assayTargets NAMESPACE assay:: DESTINATION ${package} FILE assayConfig.cmake)
write_basic_package_version_file(assayConfigVersion.cmake COMPATIBILITY SameMajorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/assayConfigVersion.cmake DESTINATION ${package})

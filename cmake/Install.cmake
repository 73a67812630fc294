# cmake --install: the program with its bundled model, manual pages, completions and the schemas of its
# JSON, both libraries with their headers, a CMake package and pkg-config files. All paths are relative: what
# is installed can be moved. `make binary` packs the components program and library.
include(CMakePackageConfigHelpers)

install(TARGETS assay RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT program)
if(NOT ASSAY_EMBED_MODEL)
  install(DIRECTORY models DESTINATION ${CMAKE_INSTALL_DATADIR}/assay)
endif()
install(FILES LICENSE THIRD_PARTY_NOTICES.md DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT program)
install(DIRECTORY docs/schema DESTINATION ${CMAKE_INSTALL_DATADIR}/assay COMPONENT program)
install(DIRECTORY python/assay/capture DESTINATION ${CMAKE_INSTALL_DATADIR}/assay/python/assay
        COMPONENT program FILES_MATCHING PATTERN "*.py")
# What capture takes from the rest of the package, which needs no compiled module.
foreach(file _arguments _command _errors _files _models _npz _outputs _text)
  install(FILES python/assay/${file}.py DESTINATION ${CMAKE_INSTALL_DATADIR}/assay/python/assay
          COMPONENT program)
endforeach()
install(FILES SKILL.md docs/json.md DESTINATION ${CMAKE_INSTALL_DATADIR}/assay COMPONENT program)

# Manual pages and completions, which the program writes itself; not a program for another machine.
if(NOT CMAKE_CROSSCOMPILING)
  set(assay_share ${CMAKE_CURRENT_BINARY_DIR}/share)
  add_custom_command(TARGET assay POST_BUILD COMMAND assay write-share ${assay_share}
    COMMENT "Writing manual pages and completions" VERBATIM)
  install(DIRECTORY ${assay_share}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR} COMPONENT program)
  install(DIRECTORY ${assay_share}/bash-completion ${assay_share}/zsh ${assay_share}/fish
    DESTINATION ${CMAKE_INSTALL_DATADIR} COMPONENT program)
endif()

install(TARGETS assay_shared EXPORT assayTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  COMPONENT library NAMELINK_COMPONENT library)
install(TARGETS assay_core EXPORT assayCoreTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/assay.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT library)
install(DIRECTORY include/assay DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

file(RELATIVE_PATH assay_include_from_lib ${CMAKE_INSTALL_FULL_LIBDIR}
     ${CMAKE_INSTALL_FULL_INCLUDEDIR})
set(component_assay library)
set(component_assay-core Unspecified)
foreach(module assay assay-core)
  configure_file(cmake/${module}.pc.in ${module}.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/${module}.pc
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT ${component_${module}})
endforeach()

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/assay)
install(EXPORT assayTargets NAMESPACE assay:: DESTINATION ${package})
install(EXPORT assayCoreTargets NAMESPACE assay:: DESTINATION ${package})
configure_package_config_file(cmake/assayConfig.cmake.in assayConfig.cmake
  INSTALL_DESTINATION ${package} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(assayConfigVersion.cmake COMPATIBILITY SameMajorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/assayConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/assayConfigVersion.cmake DESTINATION ${package})

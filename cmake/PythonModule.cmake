# assay._core, the compiled module of the Python package in python/assay, and what a wheel holds besides:
# the program and its bundled model, which lie to each other as in any installation.
find_package(Python REQUIRED COMPONENTS Interpreter Development.Module
             OPTIONAL_COMPONENTS Development.SABIModule)
execute_process(COMMAND ${Python_EXECUTABLE} -m nanobind --cmake_dir
                OUTPUT_VARIABLE nanobind_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
find_package(nanobind CONFIG REQUIRED)

file(GLOB python_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/src/python/*.cpp)
# One module serves all versions from 3.12 on.
nanobind_add_module(_core STABLE_ABI NB_STATIC NB_SUPPRESS_WARNINGS ${python_sources})
# Its own sources are not written for our warnings.
foreach(target nanobind-static-abi3 nanobind-static)
  if(TARGET ${target})
    target_compile_options(${target} PRIVATE -w)
  endif()
endforeach()
assay_includes(_core PRIVATE python)
target_link_libraries(_core PRIVATE assay_reference assay_diagnose assay_report)
target_compile_definitions(_core PRIVATE ASSAY_VERSION="${PROJECT_VERSION}")
target_link_options(_core PRIVATE -Wl,--exclude-libs,ALL -Wl,--as-needed)
nanobind_add_stub(_core_stub MODULE _core OUTPUT _core.pyi PYTHON_PATH $<TARGET_FILE_DIR:_core>
                  DEPENDS _core)

install(TARGETS _core DESTINATION assay COMPONENT python)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/_core.pyi DESTINATION assay COMPONENT python)
install(TARGETS assay RUNTIME DESTINATION assay/bin COMPONENT python)
install(DIRECTORY models DESTINATION assay/share/assay COMPONENT python)
install(FILES SKILL.md docs/json.md DESTINATION assay/share/assay COMPONENT python)
install(DIRECTORY docs/schema DESTINATION assay/share/assay COMPONENT python)

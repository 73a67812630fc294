# Where the program finds the bundled model: beside it where it is installed, otherwise in the source tree or,
# with ASSAY_EMBED_MODEL, inside the program. What is released knows no source tree.
option(ASSAY_EMBED_MODEL "Put the bundled model into the program instead of installing it" OFF)
set(models ${PROJECT_SOURCE_DIR}/models)
file(RELATIVE_PATH models_from_program ${CMAKE_INSTALL_FULL_BINDIR}
     ${CMAKE_INSTALL_FULL_DATADIR}/assay/models)
set(definitions "ASSAY_MODELS_FROM_PROGRAM=\"${models_from_program}\"")
if(ASSAY_EMBED_MODEL)
  file(GLOB model_files CONFIGURE_DEPENDS ${models}/tiny-qwen3/*.json ${models}/tiny-qwen3/*.safetensors)
  # Another model is unpacked to another directory.
  set(hashes "")
  foreach(file ${model_files})
    file(SHA256 ${file} hash)
    string(APPEND hashes ${hash})
  endforeach()
  string(SHA256 hash "${hashes}")
  string(SUBSTRING ${hash} 0 12 hash)
  set_source_files_properties(src/cli/embedded_model.cpp PROPERTIES
    COMPILE_DEFINITIONS "ASSAY_MODEL=\"${models}/tiny-qwen3\";ASSAY_MODEL_HASH=\"${hash}\""
    OBJECT_DEPENDS "${model_files}")
  list(APPEND definitions "ASSAY_EMBED_MODEL")
elseif(NOT SKBUILD)
  list(APPEND definitions "ASSAY_SOURCE=\"${PROJECT_SOURCE_DIR}\"")
endif()
target_compile_definitions(assay PRIVATE ${definitions})

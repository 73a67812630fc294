# What `assay --version` and `assay --licenses` print: the version, with the commit of the clone or of the
# source archive, and the licences.
file(STRINGS cmake/commit.txt commit LIMIT_COUNT 1)
if(commit MATCHES "Format:")
  set(commit "")
  if(EXISTS ${PROJECT_SOURCE_DIR}/.git)
    find_program(ASSAY_GIT git DOC "git, which tells the commit that is built")
    if(ASSAY_GIT)
      execute_process(COMMAND ${ASSAY_GIT} rev-parse HEAD --path-format=absolute --git-path logs/HEAD
        WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} OUTPUT_VARIABLE answer ERROR_QUIET
        OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed)
      if(NOT failed AND answer MATCHES "^([0-9a-f]+)\n(.+)$")
        set(commit ${CMAKE_MATCH_1})
        # This file changes with every commit and checkout.
        if(EXISTS ${CMAKE_MATCH_2})
          set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_MATCH_2})
        endif()
      endif()
    endif()
  endif()
endif()
set(version_text "assay ${PROJECT_VERSION}")
if(commit)
  string(SUBSTRING ${commit} 0 10 commit)
  string(APPEND version_text " (commit ${commit})")
endif()
set_source_files_properties(src/cli/about.cpp PROPERTIES
  COMPILE_DEFINITIONS "ASSAY_VERSION_TEXT=\"${version_text}\";ASSAY_ROOT=\"${PROJECT_SOURCE_DIR}\""
  OBJECT_DEPENDS "${PROJECT_SOURCE_DIR}/LICENSE;${PROJECT_SOURCE_DIR}/THIRD_PARTY_NOTICES.md")

# The name maps that src/candidate/known_maps.cpp embeds into the program.
set(maps ${CMAKE_CURRENT_SOURCE_DIR}/src/candidate/maps)
file(GLOB map_files CONFIGURE_DEPENDS ${maps}/*.json)
set_source_files_properties(src/candidate/known_maps.cpp PROPERTIES
  COMPILE_DEFINITIONS "ASSAY_MAPS=\"${maps}\""
  OBJECT_DEPENDS "${map_files}")

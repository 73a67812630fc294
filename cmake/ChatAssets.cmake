# The script that src/chat/render_script.cpp embeds into the program.
set(render_py ${CMAKE_CURRENT_SOURCE_DIR}/src/chat/render.py)
set_source_files_properties(src/chat/render_script.cpp PROPERTIES
  COMPILE_DEFINITIONS "ASSAY_RENDER_PY=\"${render_py}\""
  OBJECT_DEPENDS "${render_py}")

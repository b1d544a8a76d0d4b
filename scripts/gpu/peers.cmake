# Adds llama.cpp's own programs to the build of llama-cpp-python, so that they run over the very same libraries. Read at its
# `project` command (CMAKE_PROJECT_llama_cpp_INCLUDE), before the libraries have their targets: CMake looks them up later.
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
foreach(peer IN ITEMS tools/llama-bench tools/batched-bench examples/speculative-simple)
  add_subdirectory("${CMAKE_CURRENT_SOURCE_DIR}/vendor/llama.cpp/${peer}" "peers/${peer}" EXCLUDE_FROM_ALL)
endforeach()

# llama-cpp-python also builds what llama.cpp's programs share, half of the work. Nothing here loads it.
set(LLAMA_BUILD_COMMON OFF)

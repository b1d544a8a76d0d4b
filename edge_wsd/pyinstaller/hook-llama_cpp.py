"""What PyInstaller does not see of llama.cpp's binding: it opens its libraries by path, in a folder beside its code.

Links are kept out: `libggml.so.0` is what the linker wants, `libggml.so` what the binding opens, and PyInstaller makes
a file of each.
"""

from PyInstaller.utils.hooks import collect_dynamic_libs, copy_metadata

binaries = collect_dynamic_libs("llama_cpp", search_patterns=["*.dll", "*.dylib", "*.so", "*.so.*"])
datas = copy_metadata("llama-cpp-python")

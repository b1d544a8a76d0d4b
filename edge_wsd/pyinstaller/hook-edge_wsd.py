"""What PyInstaller does not see of edge-wsd: the demonstration pair, the page of `edge-wsd serve`, its version, and the
commands and child processes that are imported by name.
"""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules, copy_metadata

hiddenimports = collect_submodules("edge_wsd", filter=lambda name: not name.startswith("edge_wsd.pyinstaller"))
# Gigabytes that only checking a conversion or drawing a plot needs. An application that does that names them itself.
excludedimports = ["accelerate", "matplotlib", "sentencepiece", "tokenizers", "torch", "transformers"]
datas = [*collect_data_files("edge_wsd", excludes=["pyinstaller/*"]), *copy_metadata("edge-wsd")]

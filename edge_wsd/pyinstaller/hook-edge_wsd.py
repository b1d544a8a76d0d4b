"""What PyInstaller does not see of edge-wsd: the demonstration pair, the page of `edge-wsd serve`, its version, and the
commands and child processes that are imported by name.
"""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules, copy_metadata

NOT_FOR_USERS = ("edge_wsd.pyinstaller", "edge_wsd.converters.verification", "edge_wsd.bench")
hiddenimports = collect_submodules("edge_wsd", filter=lambda name: not name.startswith(NOT_FOR_USERS))
datas = [*collect_data_files("edge_wsd", excludes=["pyinstaller/*"]), *copy_metadata("edge-wsd")]

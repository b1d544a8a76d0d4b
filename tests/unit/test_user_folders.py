"""Where the program keeps its files, when the environment says so and when it does not."""

import sys

import pytest

from edge_wsd import user_folders

FOLDERS = {
    "XDG_DATA_HOME": (user_folders.data_folder, ".local/share"),
    "XDG_CONFIG_HOME": (user_folders.config_folder, ".config"),
    "XDG_CACHE_HOME": (user_folders.cache_folder, ".cache"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="the XDG folders are Linux's")
@pytest.mark.parametrize("variable", FOLDERS)
def test_the_folders_are_those_of_xdg(monkeypatch, tmp_path, variable):
    folder, usual = FOLDERS[variable]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(variable, str(tmp_path / "elsewhere"))
    assert folder() == tmp_path / "elsewhere/edge-wsd"
    monkeypatch.delenv(variable)
    assert folder() == tmp_path / usual / "edge-wsd"

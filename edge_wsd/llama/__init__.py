"""The only package that imports llama_cpp: typed owners over its low-level API; return codes become errors."""

from edge_wsd.llama.waiting import wait_briefly

wait_briefly()  # before any module here imports llama_cpp

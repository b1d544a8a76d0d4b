"""Where the tests that compare numbers have their models: EDGE_WSD_TEST_GPU_LAYERS=-1 puts them on the GPU."""

from __future__ import annotations

import os

GPU_LAYERS = int(os.environ.get("EDGE_WSD_TEST_GPU_LAYERS", "0"))

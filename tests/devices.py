"""Where the tests that compare numbers have their models: EDGE_WSD_TEST_GPU_LAYERS=-1 puts them on the GPU.

The other tests of models leave that to the program, which takes the GPU as well if there is one.
"""

from __future__ import annotations

import os

import pytest

GPU_LAYERS = int(os.environ.get("EDGE_WSD_TEST_GPU_LAYERS", "0"))
ON_GPU = GPU_LAYERS != 0
CLOSE = 0.03 if ON_GPU else 1e-3
"""Log-probabilities of a text that was read in passes of other sizes, which round differently. llama.cpp's own kernels
for small products of float32 round them to TF32 on a GPU, whatever cuBLAS is told. A wrong token is off by more than
0.1."""
FORKED_END = -11 if ON_GPU else 0
"""Exit status of a forked child that ends as processes do. Once a model was on a GPU, CUDA's clean-up crashes there."""
rounds_alike = pytest.mark.skipif(ON_GPU, reason="a GPU rounds passes of other sizes so that near ties fall otherwise")
estimates = pytest.mark.skipif(ON_GPU, reason="what GPUs need is not estimated, llama.cpp is asked")

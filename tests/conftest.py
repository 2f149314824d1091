"""All tests run on the CPU, with JAX's strict rules for mixed dtypes, uncached."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ["MT3X_CACHE"] = "off"

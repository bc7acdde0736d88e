"""Every jitted function of the package, and nothing else: array-in, array-out.

From equation to machine: `lstm`, `embedding`, `softmax` and `dropout` hold the model's
equations, forward and backward, `gradients` the sums over time; `window` runs them over
one window, `layer` over one dense-input layer. `packing`, `product` and `tile` multiply
matrices; `vector` and `elementary` are the arithmetic they share. `update` holds the
optimizers, `generate` the sampler's loop.

Importing this package chooses the folder that compiled kernels are kept in, before any
kernel is defined.
"""

from charlstm.kernels.cache_dir import choose_cache_folder

choose_cache_folder()

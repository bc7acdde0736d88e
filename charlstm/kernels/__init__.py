"""Every jitted function of the package, and nothing else: array-in, array-out.

From machine to model: `target` is the processor, `simd` and `activations` are the arithmetic,
`array_views` what it reads; `operands` are what products read, numbers or pairs of bfloat16;
`panel_layout` tells how weights lie in memory (with a picture), `packing` puts them there, and
`matmul` multiplies them by the tiles of `microkernel`. `lstm`, `embedding`, `head`, `softmax`
and `dropout` hold the model's equations, forward and backward, `weight_gradients` the sums over
time, whose operands `row_pairs` makes; `bptt_window` runs them over one window,
`dense_input_lstm` over one layer of dense inputs. `optimizers` updates the weights, `sampling`
chooses characters, `random` draws for both. `jit`, `cache_dir` and `cache_files` compile all
this and keep what is compiled.

Importing this package chooses the folder that compiled kernels are kept in, before any
kernel is defined.
"""

from charlstm.kernels.cache_dir import choose_cache_folder

choose_cache_folder()

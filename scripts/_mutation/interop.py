"""Mistakes in models that leave and come in, in pictures and pages, and the tests to see each."""

from _mutation.runner import planted

OTHERS = "test_models_of_others_answer_as_they_did_there"
NAMES = "test_the_export_for_pytorch_has_its_names_and_a_bias_of_zero"
BACK = "test_a_model_comes_back_as_it_left"
ONNX = "test_onnxruntime_answers_alike"
DAMAGE = "test_interop_damage.py"
NAMED = "test_the_conversion_is_of_the_file_that_was_named"
WRONG = "test_what_is_no_such_model_is_refused"

MODELS = (
    *planted(
        "interop/pytorch.py", "write", "test_interop.py",
        ("both of PyTorch's biases are the whole", "np.zeros_like(values)", "np.array(values)",
         NAMES),
        ("matrices are written transposed, under their old shapes",
         "np.array(values, order='C')", "np.array(values.T, order='C').reshape(values.shape)",
         NAMES),
    ),
    *planted(
        "interop/pytorch.py", "File.__init__", "test_interop.py",
        ("a header of 640 bytes is taken for a pickle", " and start[8:] != b'{'", "",
         "test_headers_as_long_as_a_pickle_begins_come_in"),
        ("an .npz is called a pickle", "is_npz(path)", "False",
         f"{DAMAGE}::test_an_npz_is_not_called_a_pickle"),
    ),
    *planted(
        "interop/pytorch.py", "_conversion", DAMAGE,
        ("a conversion is of a file in the current folder", "str(path),", "path.name,", NAMED),
        ("a conversion is quoted as in Python", "shlex.quote(program)", "repr(program)", NAMED),
    ),
    *planted(
        "interop/pytorch.py", "File.read", "test_interop.py",
        ("bfloat16 is the lower half", " << 16", " << 0",
         "test_weights_of_half_precision_come_in"),
    ),
    *planted(
        "interop/state_dict.py", "assemble", "test_interop_parts.py",
        ("one of two biases is left out", "map(file.read, biases)", "map(file.read, biases[:1])",
         "test_any_prefix_and_two_biases"),
        ("an embedding is not multiplied in", "k == 0 and parts.embedding is not None", "False",
         f"test_interop.py::{OTHERS}"),
        ("weights that are not finite come in", "np.isfinite(array).all()", "True", WRONG),
    ),
    *planted(
        "interop/state_dict.py", "find_parts", "test_interop_parts.py",
        ("what has no place is dropped", "sorted(set(shapes) - parts.names())", "[]", WRONG),
    ),
    *planted(
        "interop/state_dict.py", "_find_lstm", "test_interop_parts.py",
        ("of two LSTMs the first is taken", "len(prefixes) > 1", "False", WRONG),
    ),
    *planted(
        "interop/state_dict.py", "_find_head", "test_interop_parts.py",
        ("of two output layers the first is taken", "len(candidates) > 1", "False", WRONG),
    ),
    *planted(
        "interop/conversion.py", "_model", "test_interop_parts.py",
        ("input weights stay in the file's order of symbols",
         "weights['lstm.weight_ih_l0'][:, symbols.order]", "weights['lstm.weight_ih_l0']",
         "test_symbols_in_any_order"),
        ("the output layer stays in the file's order of symbols",
         "weights[name][symbols.order]", "weights[name]", "test_symbols_in_any_order"),
    ),
    *planted(
        "interop/symbols.py", "as_symbols", "test_interop_parts.py",
        ("symbols are moved the other way", "np.array(order)", "np.argsort(order)",
         "test_symbols_in_any_order"),
    ),
    *planted(
        "interop/keras.py", "File.read", "test_interop.py",
        ("kernels are not transposed", "array if name in _AS_STORED else array.T",
         "array if name in _AS_STORED else array.reshape(array.shape[::-1])",
         f"{OTHERS}[keras]"),
    ),
    *planted(
        "interop/keras.py", "write", "test_interop.py",
        ("kernels are written as they are",
         "weights[f'lstm.weight_hh_l{k}'].T",
         "weights[f'lstm.weight_hh_l{k}'].reshape(config.hidden_size, -1)",
         f"{BACK}[float32-keras]"),
    ),
    *planted(
        "interop/hdf5_process.py", "_arrays", DAMAGE,
        ("links to other files are followed",
         "not isinstance(group.get(key, getlink=True), h5py.HardLink)", "False",
         "test_hdf5_does_not_lead_to_other_files"),
        ("data in other files is read", "item.external or item.is_virtual or", "",
         "test_hdf5_does_not_lead_to_other_files"),
    ),
    *planted(
        "interop/onnx.py", "", "test_interop.py",
        ("ONNX's gates are in PyTorch's order", "_GATES = (0, 3, 1, 2)", "_GATES = (0, 1, 2, 3)",
         ONNX),
        ("ONNX's gates are moved the other way", "_GATES = (0, 3, 1, 2)", "_GATES = (0, 2, 3, 1)",
         ONNX),
    ),
    *planted(
        "interop/onnx.py", "_weights", "test_interop.py",
        ("both of ONNX's biases are the whole", "np.zeros_like(bias)", "bias", ONNX),
    ),
    *planted(
        "interop/npz.py", "_headers", DAMAGE,
        ("an array may be longer than its member",
         "start + math.prod(shape) * dtype.itemsize != member.file_size or ", "",
         "test_an_array_longer_than_its_member_is_refused"),
    ),
    *planted(
        "interop/tensor_file.py", "check_expansion", DAMAGE,
        ("a bomb is inflated", "sum(sizes) > max(", "0 > max(",
         "test_a_zip_bomb_is_not_inflated"),
    ),
    *planted(
        "interop/tensor_file.py", "check_regular", DAMAGE,
        ("a file that may not be read is looked into", "open(path, 'rb')", "open(os.devnull)",
         "test_a_file_that_may_not_be_read_is_not_called_damaged"),
    ),
    *planted(
        "interop/conversion.py", "export_model", "test_interop.py",
        ("a checkpoint is exported over", "path.name in (run.last.name, run.best.name)", "False",
         "test_a_checkpoint_is_not_exported_over"),
    ),
)  # fmt: skip

REPORT = (
    *planted(
        "report/features.py", "telling_cells", "test_report_features.py",
        ("cells follow what the text does not have", "varying or", "features or",
         "test_features_that_never_vary_are_followed_by_no_cell"),
    ),
    *planted(
        "report/curves.py", "_shown", "test_cli_plot.py",
        ("names that are not UTF-8 are drawn as they are", "('Cc', 'Cs')", "('Cc',)",
         "test_names_of_any_bytes_are_drawn"),
        ("control characters are drawn as they are", "('Cc', 'Cs')", "('Cs',)",
         "test_names_of_any_bytes_are_drawn"),
    ),
    *planted(
        "report/curves.py", "_draw", "test_cli_plot.py",
        ("ticks lie between steps", "integer=True, ", "", "test_ticks_are_whole_steps"),
        ("of a run of one step, ticks lie between steps", ", min_n_ticks=1", "",
         "test_ticks_are_whole_steps"),
    ),
    *planted(
        "cli/plot.py", "LivePlot.draw", "test_cli_plot.py",
        ("what matplotlib raises ends a training", "except Exception", "except CharLSTMError",
         "test_training_survives_a_picture_that_cannot_be_drawn"),
    ),
)  # fmt: skip

MUTANTS = (*MODELS, *REPORT)

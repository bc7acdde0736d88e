"""Mistakes in averaged weights and in what is dropped at random, and the test that sees each."""

from _mutation.runner import planted

FURTHER = "test_whole_run.py::test_an_interrupted_run_with_further_options_agrees"
WEIGHT_MASKS = "test_masks_are_functions_of_seed_step_layer_and_entry"
TAIL = "test_a_run_agrees_with_the_oracle"
TAIL_RESUMED = "test_an_interrupted_run_agrees_with_the_oracle"

AVERAGING = (
    *planted(
        "averaging.py", "note_evaluation", "test_tail_averaging.py",
        ("the tail's mean begins an evaluation late", ">= self.tail", "> self.tail", TAIL),
        ("the tail's mean begins again and again", "not self.since", "True", TAIL),
        ("the tail's mean begins with the run", "self.since = count", "self.since = 1", TAIL),
    ),
    *planted(
        "averaging.py", "update", "test_tail_averaging.py",
        ("the tail's first weights count twice", "(count - self.since + 1)",
         "(count - self.since + 2)", TAIL),
    ),
    *planted(
        "trainer.py", "snapshot", "test_tail_averaging.py",
        ("where the tail's mean began is not saved", "averaged_since=self.average.since",
         "averaged_since=0", TAIL_RESUMED),
    ),
    *planted(
        "config.py", "TrainConfig.__post_init__", "test_tail_averaging.py",
        ("two averages at once", "self.ema_decay and self.average_tail", "False",
         "test_options_that_exclude_each_other_are_refused"),
        ("patience ends before the tail begins", "0 < self.patience <= self.average_tail", "False",
         "test_options_that_exclude_each_other_are_refused"),
    ),
    *planted(
        "averaging.py", "update", "test_averaging.py",
        ("the average keeps its bias to the start", "/ (1 - self.decay ** count)", "",
         "test_the_average_weighs_a_step_by_its_age"),
    ),
    *planted(
        "averaging.py", "in_place_of", "test_averaging.py",
        ("the weights in training are not put back", "weights[:] = trained", "pass",
         "test_an_error_puts_the_weights_in_training_back"),
    ),
    *planted(
        "averaging.py", "restore", "test_averaging.py",
        ("the average restarts with the weights in training",
         "self._start(weights)\n    if", "pass\n    if", "test_snapshot_and_restore_undo_steps"),
        ("the tail's mean begins anew", "since if self.tail else 0", "0",
         f"test_tail_averaging.py::{TAIL_RESUMED}"),
        ("the weights in training are forgotten", "np.copyto(weights, tensors[TRAINED])", "pass",
         FURTHER),
    ),
    *planted(
        "training.py", "_weights", "test_averaging.py",
        ("the weights in training are returned as the best", "with trainer.averaged_weights():",
         "if True:", "test_training_in_one_call_returns_averaged_weights"),
    ),
    *planted(
        "parameters.py", "init_parameters", "test_parameters.py",
        ("the embedding begins as small as other weights",
         "math.sqrt(3) if name == 'lstm.weight_ih_l0' else 1 / math.sqrt(hidden)",
         "1 / math.sqrt(hidden)", "test_model_arguments.py::test_initial_weights"),
        ("the forget bias is always 1", "= forget_bias", "= 1",
         "test_a_forget_bias_is_that_of_the_forget_gates_of_a_new_model"),
        ("the forget bias is another gate's", "hidden:2 * hidden", ":hidden",
         "test_a_forget_bias_is_that_of_the_forget_gates_of_a_new_model"),
    ),
    *planted(
        "model_loading.py", "restore_model", "test_parameters.py",
        ("the forget bias is forgotten", "forget_bias=config.forget_bias", "forget_bias=1.0",
         "test_a_forget_bias_is_not_refilled_when_weights_are_loaded"),
    ),
)  # fmt: skip

MASKED = (
    *planted(
        "regularization.py", "at", "test_regularization.py",
        ("weight drop repeats dropout's draws", "derive_key(WEIGHT_DROP,", "derive_key(DROPOUT,",
         "test_masks_are_those_of_saved_runs"),
        ("weight drop is every step's", "derive_key(WEIGHT_DROP, self._seed, step)",
         "derive_key(WEIGHT_DROP, self._seed, 0)", WEIGHT_MASKS),
        ("weight drop is every seed's", "derive_key(WEIGHT_DROP, self._seed, step)",
         "derive_key(WEIGHT_DROP, 0, step)", WEIGHT_MASKS),
        ("dropout's masks are every seed's", "derive_key(DROPOUT, self._seed, step)",
         "derive_key(DROPOUT, 0, step)", "test_model.py::test_dropout_masks"),
        ("dropout's masks are every step's", "derive_key(DROPOUT, self._seed, step)",
         "derive_key(DROPOUT, self._seed, 0)", "test_model.py::test_dropout_masks"),
        ("a window's masks are a step's", "config.dropout_mask == 'step'", "True",
         "test_masks_of_a_window_are_the_same_in_every_time_step"),
    ),
    *planted(
        "regularization.py", "_threshold", "test_regularization.py",
        ("what is kept is not scaled", "1 / (1 - rate)", "1.0",
         "test_a_quarter_of_the_recurrent_weights_is_dropped_and_the_rest_scaled"),
        ("the rate is of what is kept", "round(rate * 2 ** 32)", "round((1 - rate) * 2 ** 32)",
         "test_model.py::test_dropout_masks"),
    ),
    *planted(
        "regularization.py", "masked_weights", "test_regularization.py",
        ("weights in training are masked for good", "drop_weights(self._masked, buffer,",
         "drop_weights(buffer, buffer,",
         "test_loss_and_gradients_are_the_oracles_with_masked_weights"),
    ),
    *planted(
        "cli/train.py", "_options", "test_cli_whole_run.py",
        ("options of the model are left out", "- {'vocabulary_size'}",
         "- {'vocabulary_size', 'weight_drop'}", "test_train_agrees_with_the_oracle[rmsprop]"),
    ),
)  # fmt: skip

MUTANTS = (*AVERAGING, *MASKED)

"""Mistakes in the trainer and in what a run resumes from, and the tests meant to see each."""

from _mutation.runner import planted

CARRIED = "test_h_and_c_are_each_carried_from_window_to_window"
EPOCH = "test_the_state_is_zero_at_the_start_of_each_epoch"
ZEROED = "h[:, zeroed] = c[:, zeroed] = 0"
CHOSEN = "test_chosen_streams_start_a_window_from_zero_state"
APPLIED = "test_schedules.py::test_a_schedule_is_applied_to_every_step"
MASKS = "test_a_steps_dropout_masks_are_those_of_its_number"
RESUMED = "test_what_a_resumed_trainer_starts_from"
STOPPED = "test_whole_run.py::test_an_interrupted_run_agrees_with_the_oracle"
AVERAGED = "test_whole_run.py::test_a_run_agrees_with_the_oracle"
FURTHER = "test_whole_run.py::test_an_interrupted_run_with_further_options_agrees"
PARTS = "test_the_parts_follow_each_other_and_do_not_overlap"

TRAINER = (
    *planted(
        "trainer.py", "train_step", "test_trainer.py",
        ("h is not carried from window to window, c is",
         "self.state = state\n", "self.state = (state[0] * 0, state[1])\n", f"{CARRIED}[1-h]"),
        ("c is not carried, h is",
         "self.state = state\n", "self.state = (state[0], state[1] * 0)\n", f"{CARRIED}[1-c]"),
        ("only the first layer's state is carried",
         "self.state = state\n",
         "state[0][1:] = 0\n    self.state = state\n", f"{CARRIED}[2-h]"),
        ("the state is zero before every window", "if first:", "if True:", f"{CARRIED}[1-c]"),
        ("the state is not reset at an epoch's start", "if first:", "if False:", EPOCH),
        ("the state is reset at the first epoch's start alone",
         "if first:", "if step == 0:", EPOCH),
        ("--clip is ignored", "rate, config.clip,", "rate, 0.0,",
         "test_clip_bounds_the_positive_and_the_negative_entries_of_a_step"),
        ("--clip-norm is ignored", "config.clip_norm,", "0.0,",
         "test_clip_norm_divides_a_steps_gradient_by_its_norm"),
        ("--clip and --clip-norm swapped",
         "config.clip, config.clip_norm", "config.clip_norm, config.clip",
         "test_clip_comes_after_the_norms_scale"),
        ("the schedule is not applied", "(config.schedule,", "('constant',", APPLIED),
        ("the schedule runs a step ahead", "step, config.steps", "step + 1, config.steps", APPLIED),
        ("the schedule's end is an epoch's", "config.steps,", "self.steps_per_epoch,", APPLIED),
        ("the warm-up is ignored", "config.warmup, config.min", "0, config.min",
         f"{APPLIED}[constant-6]"),
        ("the floor is ignored", "config.min_learning_rate", "0.0",
         "test_whole_run.py::test_a_run_agrees_with_the_oracle"),
        ("nothing is averaged", "self.average.update(self.model.buffer, self.step)", "pass",
         AVERAGED),
        ("steps are averaged one count late", "self.model.buffer, self.step)",
         "self.model.buffer, self.step + 1)", AVERAGED),
        ("dropout masks are every step's", "dropout_step=step", "dropout_step=0", MASKS),
        ("dropout masks repeat in each epoch",
         "dropout_step=step", "dropout_step=step % self.steps_per_epoch", MASKS),
        ("dropout is off in training", "dropout_step=step", "dropout_step=None", MASKS),
        ("a gradient that is not finite is no end", "if not math.isfinite(norm):", "if False:",
         "test_a_loss_that_is_not_finite_stops_before_the_step"),
        ("an epoch is a whole number", "self.step / self", "self.step // self",
         "test_a_record_counts_steps_epochs_and_characters"),
        ("characters are counted of one stream",
         "self.step * self.characters_per_step", "self.step * self.config.seq_length",
         "test_a_record_counts_steps_epochs_and_characters"),
    ),
    *planted(
        "regularization.py", "reset_streams", "test_trainer.py",
        ("the same streams are reset at every step", "zeroed, seed, step,", "zeroed, seed, 0,",
         "test_trainer_resets.py::"
         "test_each_stream_is_zeroed_at_the_given_rate_and_the_others_carried"),
        ("the streams reset do not depend on the seed", "zeroed, seed,", "zeroed, 0,",
         "test_trainer_resets.py::test_draws_depend_on_the_seed"),
        ("h alone is reset", ZEROED, "h[:, zeroed] = 0", CHOSEN),
        ("all are reset but the chosen", ZEROED, "h[:, ~zeroed] = c[:, ~zeroed] = 0", CHOSEN),
        ("all streams are reset or none", ZEROED, "h[:] = c[:] = 0", CHOSEN),
    ),
    *planted(
        "trainer.py", "train", "test_trainer.py",
        ("no evaluation at the end", " or self.step == self.config.steps", "",
         "test_whole_run.py::test_held_out_losses_are_measured_when_due_and_at_the_end"),
        ("evaluations one step late", "eval_every == 0", "eval_every == 1",
         "test_whole_run.py::test_held_out_losses_are_measured_when_due_and_at_the_end"),
    ),
    *planted(
        "trainer.py", "Trainer.is_done", "test_trainer.py",
        ("a step too many", "self.step >= self.config", "self.step > self.config",
         "test_a_record_counts_steps_epochs_and_characters"),
    ),
    *planted(
        "trainer.py", "_with_evaluation", "test_trainer.py",
        ("the highest loss is the best", "decisive < self", "decisive > self",
         "test_the_lowest_validation_loss_is_the_best"),
        ("an equal loss is an improvement", "decisive < self", "decisive <= self",
         "test_the_lowest_validation_loss_is_the_best"),
        ("the training loss decides", "record.train_loss if measured is None else measured",
         "record.train_loss", "test_the_lowest_validation_loss_is_the_best"),
        ("patience counts every evaluation", "0 if improved else", "0 if False else",
         "test_cli_small_texts.py::test_patience_counts_evaluations_since_the_best"),
        ("the best is the last", "if improved:", "if True:",
         "test_the_lowest_validation_loss_is_the_best"),
        ("a validation loss that is not finite goes unnoticed",
         "not math.isfinite(measured)", "False",
         "test_a_validation_loss_that_is_not_finite_stops_after_it"),
    ),
    *planted(
        "trainer.py", "evaluate", "test_trainer.py",
        ("the weights in training are evaluated", "with self.averaged_weights():", "if True:",
         "test_averaging.py::test_the_averaged_weights_are_evaluated"),
        ("validation on the test part", "self.val if", "self.test if", PARTS),
    ),
    *planted(
        "trainer.py", "Trainer.__init__", "test_trainer.py",
        ("trained on the whole text", "Windows(self.text,", "Windows(corpus.text,",
         "test_weights_do_not_depend_on_a_held_out_part"),
        ("validation and test swapped",
         "self.text, self.val, self.test", "self.text, self.test, self.val", PARTS),
    ),
    *planted(
        "trainer.py", "Trainer.set_length", "test_trainer.py",
        ("--save-every is ignored", "save_every) or every", "0) or every",
         "test_default_intervals_are_a_fiftieth_of_the_run_or_a_tenth_of_its_time"),
    ),
)  # fmt: skip

BEGUN = (
    *planted(
        "transfer.py", "transfer_weights", "test_transfer.py",
        ("symbols are matched by their ids", "view[:, new] = values[:, old]",
         "view[:, new] = values[:, new]", "test_layers_are_copied_and_symbols_matched"),
        ("the output layer is not carried over", "view[new] = values[old]", "pass",
         "test_layers_are_copied_and_symbols_matched"),
        ("bytes and characters are mixed", "theirs.kind != ours.kind", "False",
         "test_other_models_are_refused"),
    ),
    *planted(
        "cli/run_state.py", "new_run", "test_transfer.py",
        ("a run begins with random weights", "[initial.put_into(untrained)]", "[]",
         "test_a_run_begins_with_the_weights_of_another"),
    ),
    *planted(
        "cli/train.py", "_with_preset", "test_transfer.py",
        ("--init-from is ignored on a resume", "options['resume'] and options['init_from']",
         "False", "test_what_does_not_fit_is_refused"),
        ("a preset comes before what is given", "{name: options[name] for name in given}", "{}",
         "test_presets.py::test_a_run_has_the_options_of_its_preset"),
    ),
    *planted(
        "presets.py", "preset_options", "test_presets.py",
        ("a preset's minutes stay beside --steps", "replaced |= set(BUDGETS)", "pass",
         "test_what_is_given_takes_the_place"),
        ("a preset's average stays beside another", "replaced.add('ema_decay')", "pass",
         "test_what_is_given_takes_the_place"),
        ("a preset's rate stays with another optimizer", "replaced.add('learning_rate')", "pass",
         "test_what_is_given_takes_the_place"),
    ),
)  # fmt: skip

DYNAMIC = (
    *planted(
        "dynamic_evaluation.py", "evaluate_dynamic", "test_dynamic_evaluation.py",
        ("the weights stay as the text has left them", "model.buffer[:] = trained", "pass",
         "test_the_model_is_as_before"),
        ("the state is not carried", "state = after", "state = None",
         "test_losses_are_the_definitions"),
        ("weights return further than to where they were",
         "np.minimum(scales * (decay / max(mean, EPS)), 1)", "scales * (decay / max(mean, EPS))",
         "test_losses_are_the_definitions"),
        ("the mean is over the gaps of the buffer, too", "model.layout.count", "model.buffer.size",
         "test_losses_are_the_definitions"),
    ),
    *planted(
        "dynamic_evaluation.py", "_gradient_scales", "test_dynamic_evaluation.py",
        ("scales are mean squares", "np.sqrt(squares / count)", "squares / count",
         "test_losses_are_the_definitions"),
    ),
    *planted(
        "cli/evaluate.py", "_dynamic_rates", "test_dynamic_evaluation.py",
        ("rates without --dynamic are ignored", "given and (not dynamic)", "False",
         "test_rates_without_dynamic_are_refused"),
    ),
    *planted(
        "cli/per_character.py", "escape", "test_dynamic_evaluation.py",
        ("backslashes stay", " and symbol != '\\\\'", "",
         "test_what_a_line_of_a_table_cannot_show_is_escaped"),
    ),
)  # fmt: skip

CHECKPOINT = (
    *planted(
        "trainer.py", "snapshot", "test_trainer.py",
        ("the optimizer's state is no copy", "array.copy()", "array", RESUMED),
        ("the carried state is no copy", "map(self.ranks.gather_streams, self.state)",
         "self.state", RESUMED),
        ("h and c are saved under each other's name",
         "tensors['state.h'], tensors['state.c'] =", "tensors['state.c'], tensors['state.h'] =",
         RESUMED),
        ("the number of steps is one short", "step=self.step", "step=self.step - 1", RESUMED),
        ("gradients are saved for weights", "copies(self.model.buffer)",
         "copies(self.model.gradient)", RESUMED),
        ("the weights in training are saved as the model's", "with self.averaged_weights():",
         "if True:", "test_averaging.py::test_a_checkpoint_holds_both"),
        ("the weights in training are not saved",
         "tensors |= self.average.tensors(self.model.buffer)", "pass",
         "test_averaging.py::test_a_checkpoint_holds_both"),
    ),
    *planted(
        "trainer.py", "restore", "test_trainer.py",
        ("the optimizer's count restarts", "self.step = self.optimizer.count =",
         "self.step =", RESUMED),
        ("the best loss is forgotten", "metadata.best_loss", "None", RESUMED),
        ("the averaged weights are trained on",
         "self.average.restore(self.model.buffer, tensors, metadata.averaged_since)", "pass",
         FURTHER),
        ("missing weights in training pass by",
         "if metadata.training.ema_decay or metadata.averaged_since:", "if False:",
         "test_averaging.py::test_a_checkpoint_without_the_weights_in_training_is_refused"),
        ("the carried state is forgotten",
         "fill({'state.h': h, 'state.c': c}, tensors)", "pass", RESUMED),
        ("the optimizer's state is forgotten", "fill(self.optimizer.tensors, tensors)", "pass",
         f"{STOPPED}[rmsprop-5]"),
        ("patience restarts", "metadata.evaluations_since_best", "0",
         "test_cli_small_texts.py::test_a_resume_ends_at_the_same_step"),
    ),
    *planted(
        "trainer.py", "from_snapshot", "test_trainer.py",
        ("changes of options are ignored",
         "metadata.training.changed(metadata.step, **changes)", "metadata.training",
         "test_whole_run.py::test_options_may_change_on_resume[adam]"),
        ("another corpus is taken",
         "check_instance('corpus', corpus, Corpus).sha256 != metadata.corpus_sha256", "False",
         "test_a_run_resumes_with_its_own_corpus_only"),
    ),
    *planted(
        "model_loading.py", "restore_model", "test_trainer.py",
        ("the seed of masks and resets is forgotten", "metadata.seed", "0", RESUMED),
        ("dropout is forgotten", "dropout=config.dropout", "dropout=0.0", RESUMED),
        ("weight drop is forgotten", "weight_drop=config.weight_drop", "weight_drop=0.0", FURTHER),
        ("dropout's kind of masks is forgotten", "dropout_mask=config.dropout_mask",
         "dropout_mask='step'", FURTHER),
        ("the weights are forgotten", "fill(model.parameters, tensors)", "pass",
         "test_metadata.py::test_what_python_saved_needs_no_command"),
    ),
    *planted(
        "checkpoint.py", "_read", "test_checkpoint_damage.py",
        ("the checksum is not compared",
         "document.pop('sha256', None) != _checksum(tensors, document)",
         "document.pop('sha256', None) is None", "test_a_wrong_checksum_is_refused"),
    ),
    *planted(
        "checkpoint.py", "_checksum", "test_checkpoint_damage.py",
        ("the checksum leaves out the tensors' names",
         "[name, array.dtype.name, array.shape]", "[array.dtype.name, array.shape]",
         "test_every_flipped_bit_is_refused_or_harmless"),
        ("the checksum leaves out the shapes",
         "[name, array.dtype.name, array.shape]", "[name, array.dtype.name]",
         "test_another_shape_of_the_same_size_is_refused"),
        ("the checksum leaves out the document", "digest.update(json.dumps(document).encode())",
         "pass", "test_every_flipped_bit_is_refused_or_harmless"),
    ),
    *planted(
        "checkpoint.py", "atomic_write", "test_checkpoint_failed_saves.py",
        ("a file gets its name before it is on the disk", "os.fsync(file.fileno())", "pass",
         "test_data_is_synced_before_the_rename_and_the_rename_before_the_return"),
        ("what was half written stays", "os.unlink(temporary)", "pass",
         "test_a_failed_save_leaves_the_old_file"),
    ),
    *planted(
        "checkpoint.py", "save", "test_checkpoint_failed_saves.py",
        ("what is saved is not read back", "_read(file)", "pass",
         "test_what_cannot_be_read_back_is_not_kept"),
    ),
    *planted(
        "config.py", "from_dict", "test_config.py",
        ("older checkpoints get today's defaults", "{**added, **options}", "options",
         "test_trainer_resets.py::test_options_of_older_runs_stay_as_they_were"),
        ("what was added later is always off", "{**added, **options}", "{**options, **added}",
         "test_trainer_resets.py::test_options_of_older_runs_stay_as_they_were "
         "test_json_round_trip"),
        ("unknown options pass by", "options = {**added, **options}",
         "options = {name: value for name, value in {**added, **options}.items() if name in known}",
         "test_from_dict_refuses_other_keys"),
    ),
    *planted(
        "config.py", "", "test_trainer_resets.py",
        ("resets are on in older runs", "'reset_probability': 0.0,", "'reset_probability': 0.01,",
         "test_options_of_older_runs_stay_as_they_were"),
    ),
)  # fmt: skip

RUNS = (
    *planted(
        "run_saving.py", "SavedRun.save", "test_trainer_runs.py",
        ("another's newer checkpoint is overwritten", "_identity(self.run.last) != self._last",
         "False", "test_a_save_does_not_set_a_run_back"),
        ("every save is the best", "if is_best else [self.run.last]",
         "if True else [self.run.last]", "test_best_is_the_step_of_the_lowest_loss"),
        ("rows of an abandoned branch stay", "metadata.step)", "10 ** 9)",
         "test_rows_beyond_the_step_that_is_saved_are_dropped"),
        ("versions are not stored", "versions=checkpoint.versions()", "versions={}",
         "test_versions_are_stored_and_compared"),
        ("a corpus from elsewhere loses its place", "source or self.command.source", "source",
         "test_what_the_command_line_stored_is_kept"),
    ),
    *planted(
        "run_saving.py", "load_run", "test_trainer_runs.py",
        ("what the command line stored is dropped", "saved.command = metadata.command", "pass",
         "test_what_the_command_line_stored_is_kept"),
    ),
    *planted(
        "run_saving.py", "write_checkpoints", "test_cli_step_report.py",
        ("the last is written before the best", "(run.best, run.last)", "(run.last, run.best)",
         "test_pending_saves_are_written_when_due"),
    ),
    *planted(
        "config.py", "TrainConfig.changed", "test_trainer_runs.py",
        ("anything may change", "changes.keys() - {*CHANGEABLE, *INTERVALS, 'steps'}", "()",
         "test_what_cannot_change_is_refused"),
        ("fewer steps than are done", "config.steps < done", "False",
         "test_what_cannot_change_is_refused"),
    ),
    *planted(
        "training.py", "train", "test_training.py",
        ("the last weights for the best", "_weights(trainer) if best is None else best",
         "_weights(trainer)",
         "test_the_weights_are_those_of_the_lowest_validation_loss"),
        ("a divergence ends everything", "best is None:\n                raise",
         "True:\n                raise",
         "test_a_divergence_leaves_the_best_model"),
    ),
    *planted(
        "cli/budget.py", "time_steps", "test_cli_train.py",
        ("a timed run is trained already", "trainer.restore(*before)", "pass",
         "test_timing_a_run_does_not_train_it"),
    ),
    *planted(
        "dtype_timing.py", "_seconds_per_row", "test_bfloat16_runs.py",
        ("a tile's rows do not count", "rows * repeats", "repeats",
         "test_dtypes_are_compared_by_the_time_of_a_row"),
    ),
    *planted(
        "dtype_timing.py", "bfloat16_slowdown", "test_bfloat16_runs.py",
        ("as many pairs as numbers", "(k + 1) // 2", "k",
         "test_dtypes_are_compared_by_the_time_of_a_row"),
    ),
    *planted(
        "cli/train.py", "_warn_of_slow_dtype", "test_bfloat16_runs.py",
        ("a dtype that just fails to pay is not told of", "slowdown > BREAK_EVEN",
         "slowdown > 1", "test_a_processor_slow_in_bfloat16_is_told"),
        ("only the measurement counts", "or not multiplies_bfloat16()", "",
         "test_a_processor_without_the_instruction_is_told"),
    ),
    *planted(
        "metadata.py", "to_dict", "test_metadata.py",
        ("what was requested is stored by another name", "'asked'", "'requested'",
         "test_what_is_written_reads_the_same"),
    ),
)  # fmt: skip

MUTANTS = (*TRAINER, *DYNAMIC, *BEGUN, *CHECKPOINT, *RUNS)

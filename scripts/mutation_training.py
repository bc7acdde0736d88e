"""Mistakes in training, evaluation and sampling, and the tests that are meant to see each."""

from collections.abc import Iterator

from emulation import Edit
from mutation_run import Mutant

Row = tuple[str, str, str, str]  # name, old, new, tests of the table's module


def planted(file: str, function: str, module: str, *rows: Row) -> Iterator[Mutant]:
    """Yield mutants of one function, seen by tests of one module, or of another named before ::."""
    for name, old, new, tests in rows:
        ids = [test if "::" in test else f"{module}::{test}" for test in tests.split()]
        yield Mutant(name, Edit(file, function, old, new), ids)


CARRIED = "test_h_and_c_are_each_carried_from_window_to_window"
EPOCH = "test_the_state_is_zero_at_the_start_of_each_epoch"
CHOSEN = "test_chosen_streams_start_a_window_from_zero_state"
APPLIED = "test_schedules.py::test_a_schedule_is_applied_to_every_step"
MASKS = "test_a_steps_dropout_masks_are_those_of_its_number"
RESUMED = "test_what_a_resumed_trainer_starts_from"
STOPPED = "test_whole_run.py::test_a_run_that_was_stopped_agrees_with_the_oracle"
PARTS = "test_the_parts_follow_each_other_and_do_not_overlap"

TRAINER = (
    *planted(
        "trainer.py", "_train_step", "test_trainer.py",
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
        ("the warm-up is ignored", ", config.warmup)", ", 0)", f"{APPLIED}[constant-6]"),
        ("dropout masks are every step's", "mask_step=step", "mask_step=0", MASKS),
        ("dropout masks start anew with each epoch",
         "mask_step=step", "mask_step=step % self.steps_per_epoch", MASKS),
        ("dropout is off in training", "mask_step=step", "mask_step=None", MASKS),
        ("a gradient that is not finite is no end", "if not math.isfinite(norm):", "if False:",
         "test_a_loss_that_is_not_finite_stops_before_the_step"),
        ("an epoch is a whole number", "self.step / self", "self.step // self",
         "test_a_record_counts_steps_epochs_and_characters"),
        ("characters are counted of one stream",
         "self.step * self.characters_per_step", "self.step * self.config.seq_length",
         "test_a_record_counts_steps_epochs_and_characters"),
    ),
    *planted(
        "trainer.py", "_reset_some", "test_trainer.py",
        ("the same streams are reset at every step", "seed, step,", "seed, 0,",
         "test_cold_start.py::"
         "test_each_stream_is_zeroed_at_the_given_rate_and_the_others_carried"),
        ("the streams reset do not depend on the seed", "self.model.seed", "0",
         "test_cold_start.py::test_draws_depend_on_the_seed"),
        ("h alone is reset", "np.where(kept, state[1], 0)", "state[1]", CHOSEN),
        ("all are reset but the chosen", ">= probability", "< probability", CHOSEN),
        ("all streams are reset or none", "(draws >=", "(draws[:1] >=", CHOSEN),
    ),
    *planted(
        "trainer.py", "train", "test_trainer.py",
        ("no evaluation at the end", " or self.step == self.config.steps", "",
         "test_whole_run.py::test_held_out_losses_are_measured_when_due_and_at_the_end"),
        ("evaluations one step late", "eval_every == 0", "eval_every == 1",
         "test_whole_run.py::test_held_out_losses_are_measured_when_due_and_at_the_end"),
        ("a step more than asked", "while self.step < self", "while self.step <= self",
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
        ("the best is the last", "if improved:", "if True:",
         "test_the_lowest_validation_loss_is_the_best"),
        ("a validation loss that is not finite goes unnoticed",
         "not math.isfinite(measured)", "False",
         "test_a_validation_loss_that_is_not_finite_stops_after_it"),
    ),
    *planted(
        "trainer.py", "evaluate", "test_trainer.py",
        ("validation on the test part", "'val': self.val", "'val': self.test", PARTS),
    ),
    *planted(
        "trainer.py", "Trainer.__init__", "test_trainer.py",
        ("trained on the whole text", "Windows(self.text,", "Windows(corpus.text,",
         "test_weights_do_not_depend_on_a_held_out_part"),
        ("validation and test swapped",
         "self.text, self.val, self.test", "self.text, self.test, self.val", PARTS),
        ("--save-every is ignored", "config.save_every or eval_every", "eval_every",
         "test_intervals_not_given_are_an_epoch_or_the_run"),
    ),
)  # fmt: skip

CHECKPOINT = (
    *planted(
        "trainer.py", "snapshot", "test_trainer.py",
        ("the optimizer's memory is no copy", "memory.copy()", "memory", RESUMED),
        ("h and c are saved under each other's name",
         "tensors['state.h'], tensors['state.c'] =", "tensors['state.c'], tensors['state.h'] =",
         RESUMED),
        ("the number of steps is one short", "'step': self.step", "'step': self.step - 1", RESUMED),
        ("gradients are saved for weights", "self.model.buffer", "self.model.gradient", RESUMED),
    ),
    *planted(
        "trainer.py", "resume", "test_trainer.py",
        ("the optimizer's count starts anew", "trainer.step = trainer.optimizer.count =",
         "trainer.step =", RESUMED),
        ("the best loss is forgotten", "metadata['best_loss']", "None", RESUMED),
        ("the carried state is forgotten",
         "targets |= dict(zip(('state.h', 'state.c'), trainer.state, strict=True))", "pass",
         RESUMED),
        ("the optimizer's memory is forgotten",
         "for name, array in trainer.optimizer.memory.items()", "for name, array in ()",
         f"{STOPPED}[rmsprop-5]"),
        ("changes of options are ignored", "dataclasses.replace(config, **changes)", "config",
         "test_whole_run.py::test_options_may_change_where_a_run_goes_on[adam]"),
        ("another corpus is taken", "corpus.sha256 != metadata['corpus']['sha256']", "False",
         "test_a_run_goes_on_with_its_own_corpus_only"),
    ),
    *planted(
        "trainer.py", "restore_model", "test_trainer.py",
        ("the seed of masks and resets is forgotten", "metadata['seed']", "0", RESUMED),
        ("dropout is forgotten", "dropout=config.dropout", "dropout=0.0", RESUMED),
        ("the weights are forgotten", "_fill(model.parameters, tensors)", "pass", RESUMED),
    ),
    *planted(
        "checkpoint.py", "_read", "test_checkpoint.py",
        ("the checksum is not compared",
         "document.pop('sha256', None) != _checksum(tensors, document)",
         "document.pop('sha256', None) is None", "test_a_wrong_checksum_is_refused"),
    ),
    *planted(
        "checkpoint.py", "_checksum", "test_checkpoint.py",
        ("the checksum leaves out the tensors' names",
         "[name, array.dtype.name, array.shape]", "[array.dtype.name, array.shape]",
         "test_tensors_swapped_are_refused"),
        ("the checksum leaves out the shapes",
         "[name, array.dtype.name, array.shape]", "[name, array.dtype.name]",
         "test_another_shape_of_the_same_size_is_refused"),
        ("the checksum leaves out the document", "digest.update(json.dumps(document).encode())",
         "pass", "test_every_flipped_bit_is_refused_or_harmless"),
    ),
    *planted(
        "checkpoint.py", "replacing", "test_checkpoint.py",
        ("a file gets its name before it is on the disk", "os.fsync(file.fileno())", "pass",
         "test_bytes_reach_the_disk_before_the_name_and_the_name_before_the_return"),
        ("what was half written stays", "os.unlink(temporary)", "pass",
         "test_a_failed_save_leaves_the_old_file"),
    ),
    *planted(
        "checkpoint.py", "save", "test_checkpoint.py",
        ("what is saved is not read back", "_read(file)", "pass",
         "test_what_cannot_be_read_back_is_not_kept"),
    ),
    *planted(
        "config.py", "from_dict", "test_config.py",
        ("older checkpoints get today's defaults", "{**added, **options}", "options",
         "test_cold_start.py::test_options_from_before_go_on_as_they_were"),
        ("what was added later is always off", "{**added, **options}", "{**options, **added}",
         "test_cold_start.py::test_options_from_before_go_on_as_they_were "
         "test_json_round_trip"),
        ("unknown options pass by", "options = {**added, **options}",
         "options = {name: value for name, value in {**added, **options}.items() if name in known}",
         "test_from_dict_refuses_other_keys"),
    ),
    *planted(
        "config.py", "", "test_cold_start.py",
        ("resets are on in older runs", "'reset_probability': 0.0}", "'reset_probability': 0.01}",
         "test_options_from_before_go_on_as_they_were"),
    ),
)  # fmt: skip

KEEPS = "test_a_held_out_loss_keeps_its_state_across_evaluation_windows"
LENGTHS = "test_held_out_loss_of_any_length"
ONCE = "test_held_out_characters_are_targets_once"
SLICES = "test_an_epoch_is_slices_of_streams"

TEXT = (
    *planted(
        "evaluation.py", "held_out", "test_evaluation.py",
        ("the held-out loss forgets its state every 256 characters",
         "model.losses(inputs, targets, state)", "model.losses(inputs, targets, None)", KEEPS),
        ("the held-out loss forgets h every 256 characters",
         "total += float", "state = (state[0] * 0, state[1])\n        total += float",
         f"{KEEPS}[h]"),
        ("what is beyond a stream's end counts", "[:, None] < valid", "[:, None] <= valid",
         LENGTHS),
        ("the mean is over all characters of the text", "total / count", "total / len(text)",
         LENGTHS),
        ("dropout is on in evaluation", "model.losses(inputs, targets, state)",
         "model.losses(inputs, targets, state, mask_step=0)",
         "test_a_held_out_loss_drops_nothing_and_modifies_nothing"),
    ),
    *planted(
        "evaluation.py", "", "test_trainer.py",
        ("held-out texts are cut into another number of streams",
         "EVAL_STREAMS = 10", "EVAL_STREAMS = 9", PARTS),
    ),
    *planted(
        "batches.py", "Windows.__init__", "test_batches.py",
        ("streams start next to each other", "np.arange(batch_size) * self.stream_length",
         "np.arange(batch_size)", SLICES),
        ("streams overlap", "np.arange(batch_size) * self.stream_length",
         "np.arange(batch_size) * (self.stream_length - 1)", SLICES),
    ),
    *planted(
        "batches.py", "window", "test_batches.py",
        ("windows overlap", "number * self.seq_length", "number * max(1, self.seq_length - 1)",
         SLICES),
        ("targets are the inputs", "ids[1:]", "ids[:-1]", SLICES),
        ("only the first epoch begins", "number == 0", "step == 0",
         "test_state_is_zero_at_the_start_of_each_epoch_only"),
        ("the last window of an epoch is left out", "step % self.steps_per_epoch",
         "step % max(1, self.steps_per_epoch - 1)", SLICES),
    ),
    *planted(
        "batches.py", "_held_out_windows", "test_batches.py",
        ("held-out streams overlap", "np.cumsum(lengths) - lengths",
         "np.arange(streams) * shortest", ONCE),
        ("a held-out stream's last character is no target",
         "lengths - 1 - done", "lengths - 2 - done", ONCE),
        ("what is beyond a stream's end is read", "rows >= valid", "rows > valid", ONCE),
        ("held-out windows overlap", "starts + done + rows", "starts + max(0, done - 1) + rows",
         ONCE),
    ),
    *planted(
        "batches.py", "fit_sizes", "test_batches.py",
        ("a short text is cut into too few streams", "-(-targets // seq_length)",
         "max(1, targets // seq_length)", "test_fitted_sizes"),
    ),
    *planted(
        "corpus.py", "split", "test_corpus.py",
        ("the validation part is a fraction of the rest", "int(stop * val_fraction)",
         "int(test_start * val_fraction)", "test_split"),
        ("fractions are rounded up", "int(stop * test_fraction)",
         "-int(-stop * test_fraction // 1)", "test_split"),
        ("the training part reaches into the validation part",
         "self.text.part(0, val_start)", "self.text.part(0, test_start)",
         f"test_split test_trainer.py::{PARTS}"),
        ("the test part comes before the validation part",
         "self.text.part(val_start, test_start), self.text.part(test_start, stop)",
         "self.text.part(test_start, stop), self.text.part(val_start, test_start)", "test_split"),
    ),
    *planted(
        "corpus.py", "part", "test_corpus.py",
        ("a part starts at the text's start", "self.data[start:stop]", "self.data[:stop]",
         "test_text_gives_ids"),
    ),
    *planted(
        "corpus.py", "_look_up", "test_batches.py",
        ("bytes are not looked up", "np.take(self.lookup, values)", "values.astype(np.int32)",
         "test_windows_look_bytes_up"),
    ),
)  # fmt: skip

NORM = "test_clip_norm_scales_to_the_bound_by_the_norm_itself"

OPTIMIZERS = (
    *planted(
        "optimizers.py", "step", "test_update_rules.py",
        ("--clip-norm divides by the root of the norm", "clip_norm / norm",
         "clip_norm / math.sqrt(norm)", NORM),
        ("--clip-norm divides by the square of the norm", "clip_norm / norm",
         "clip_norm / norm ** 2", NORM),
        ("--clip-norm scales small gradients up", "0 < clip_norm < norm", "0 < clip_norm",
         "test_clip_norm_leaves_a_smaller_gradient_alone"),
        ("the norm is squared", "math.sqrt(squared_norm(gradient))", "squared_norm(gradient)",
         "test_the_norm_returned_is_that_before_clipping"),
        ("the norm returned is that after clipping", "math.inf)\n    return norm",
         "math.inf)\n    return norm * scale", "test_the_norm_returned_is_that_before_clipping"),
        ("--clip is ignored by all optimizers", "clip or math.inf", "math.inf",
         "test_clip_bounds_entries_of_either_sign"),
        ("steps are counted twice", "self.count += 1", "self.count += 2",
         "test_adam_corrects_the_bias_of_its_means"),
        ("a gradient that is not finite is applied", "if not math.isfinite(norm):", "if False:",
         "test_a_gradient_that_is_not_finite_updates_nothing"),
    ),
    *planted(
        "optimizers.py", "Adagrad._update", "test_update_rules.py",
        ("Adagrad's epsilon is 1e-8", "1e-10", "1e-08",
         "test_adagrad_epsilon_is_1e_10_outside_the_root"),
    ),
    *planted(
        "optimizers.py", "RMSprop._update", "test_update_rules.py",
        ("RMSprop's decay is 0.9", "0.99", "0.9", "test_rmsprop_decay_is_0_99"),
        ("RMSprop's epsilon is 1e-10", "1e-08", "1e-10",
         "test_rmsprop_epsilon_is_1e_8_outside_the_root"),
    ),
    *planted(
        "optimizers.py", "Adam._update", "test_update_rules.py",
        ("Adam's decays are swapped", "bound, 0.9, 0.999,", "bound, 0.999, 0.9,",
         "test_adam_decays_are_0_9_and_0_999"),
        ("Adam's means keep their bias", "1 - 0.9 ** self.count", "1.0",
         "test_adam_corrects_the_bias_of_its_means"),
        ("Adam's epsilon is 1e-10", "1e-08", "1e-10",
         "test_adam_epsilon_is_1e_8_outside_the_corrected_root"),
    ),
    *planted(
        "optimizers.py", "scheduled_rate", "test_schedules.py",
        ("linear ends a step early", "1 - step / steps", "1 - (step + 1) / steps",
         "test_linear_falls_by_equal_amounts_to_one_of_them"),
        ("cosine is a whole cosine", "math.pi * step", "2 * math.pi * step",
         "test_cosine_is_half_a_cosine"),
        ("cosine swings below 0", "0.5 * (1 + math.cos(math.pi * step / steps))",
         "math.cos(math.pi * step / steps)", "test_cosine_is_half_a_cosine"),
        ("the warm-up starts from 0", "(step + 1) / warmup", "step / warmup",
         "test_the_rate_rises_to_the_schedules_own"),
    ),
)  # fmt: skip

PACE = "test_a_pace_that_was_misjudged_is_mended"
EVALUATIONS = "test_evaluations_count_with_the_time_they_were_found_to_take"
BEFORE = "test_a_run_that_goes_on_counts_what_it_took_before"

CLOCK = (
    *planted(
        "thread_tuner.py", "_try_next", "test_thread_tuner.py",
        ("the slowest number of threads wins", "min(self._tried", "max(self._tried",
         "test_a_busy_core_from_the_start_is_avoided"),
        ("trials follow without a pause",
         "now + max(FIRST_PAUSE, (now - self._started) / TRIAL_SHARE)", "now",
         "test_trials_take_a_small_share_of_the_time"),
    ),
    *planted(
        "thread_tuner.py", "_judge", "test_thread_tuner.py",
        ("threads given up are never taken again", " or self.threads < self.most", "",
         "test_a_core_that_becomes_busy_is_left_and_taken_again_when_it_is_quiet"),
        ("a block that is slower starts no trial", "seconds > SLOWER * fastest", "False",
         "test_a_core_that_becomes_busy_is_left_and_taken_again_when_it_is_quiet"),
    ),
    *planted(
        "thread_tuner.py", "", "test_thread_tuner.py",
        ("any slower block starts a trial", "SLOWER = 1.2", "SLOWER = 1.01",
         "test_a_step_that_varies_a_little_starts_no_trials"),
    ),
    *planted(
        "cli/plan.py", "note_step", "test_budget.py",
        ("evaluations count as steps", "record.val_loss is None", "True", EVALUATIONS),
    ),
    *planted(
        "cli/plan.py", "revise", "test_budget.py",
        ("the steps are revised without end",
         "[time for time in self._revisions if time > seconds]", "self._revisions",
         "test_the_number_of_steps_is_final_after_a_tenth_of_the_time"),
        ("the pace found is thrown away", "self._pace._replace(step=self._stepping / timed)",
         "self._pace", PACE),
        ("the trainer is not told", "trainer.set_steps(max(steps, trainer.step + 1))", "pass",
         PACE),
    ),
    *planted(
        "cli/plan.py", "total_steps", "test_budget.py",
        ("no time is left for saving", " * SPARE", "", PACE),
        ("the steps done are forgotten", "return done + max", "return max", PACE),
        ("evaluations take no time", "pace.step + pace.evaluation / eval_every", "pace.step",
         EVALUATIONS),
        ("what the run took before is forgotten", "60 * goal.minutes - seconds",
         "60 * goal.minutes", BEFORE),
    ),
    *planted(
        "model.py", "_dropout", "test_model.py",
        ("outputs kept are not scaled up", "1 / (1 - rate)", "1.0", "test_dropout_masks"),
        ("the rate is of what is kept", "round(rate * 2 ** 32)", "round((1 - rate) * 2 ** 32)",
         "test_dropout_masks"),
        ("masks do not depend on the seed", "self.seed, mask_step", "0, mask_step",
         "test_dropout_masks"),
        ("masks do not depend on the step", "self.seed, mask_step", "self.seed, 0",
         "test_dropout_masks"),
    ),
    *planted(
        "model.py", "_use_symbols", "test_optimizers.py",
        ("gradients of the window before stay", "self._written if mode == TRAIN else False",
         "False", "test_a_gradient_is_of_its_own_window[1]"),
    ),
)  # fmt: skip

MUTANTS = (*TRAINER, *CHECKPOINT, *TEXT, *OPTIMIZERS, *CLOCK)

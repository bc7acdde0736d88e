"""Mistakes in texts, held-out losses, optimizers and clocks, and the tests meant to see each."""

from _mutation.runner import planted

PARTS = "test_the_parts_follow_each_other_and_do_not_overlap"
KEEPS = "test_a_held_out_loss_keeps_its_state_across_evaluation_windows"
LENGTHS = "test_held_out_loss_of_any_length"
ONCE = "test_held_out_characters_are_targets_once"
SLICES = "test_an_epoch_is_slices_of_streams"

TEXT = (
    *planted(
        "evaluation.py", "evaluate_text", "test_evaluation.py",
        ("the held-out loss forgets its state every 256 characters",
         "targets[:, own], state)", "targets[:, own], None)", KEEPS),
        ("the held-out loss forgets h every 256 characters",
         "total += float", "state = (state[0] * 0, state[1])\n        total += float",
         f"{KEEPS}[h]"),
        ("what is beyond a stream's end counts", "[:, None] < valid", "[:, None] <= valid",
         LENGTHS),
        ("the mean is over all characters of the text", "total / count", "total / len(text)",
         LENGTHS),
        ("dropout is on in evaluation", "targets[:, own], state)",
         "targets[:, own], state, dropout_step=0)",
         "test_a_held_out_loss_uses_no_dropout_and_modifies_nothing"),
    ),
    *planted(
        "evaluation.py", "evaluate_text", "test_evaluation.py",
        ("the losses of characters are those of the characters before them",
         "split_streams(len(text), streams)[0] + 1",
         "split_streams(len(text), streams)[0]", "test_the_loss_of_each_character"),
        ("every window's losses are put in the place of the first's", "position += valid", "pass",
         "test_the_loss_of_each_character"),
    ),
    *planted(
        "evaluation.py", "", "test_trainer.py",
        ("held-out texts are cut into another number of streams",
         "EVAL_STREAMS = 10", "EVAL_STREAMS = 9", PARTS),
    ),
    *planted(
        "batches.py", "Windows.__init__", "test_batches.py",
        ("streams start next to each other", "np.array(self.streams) * self.stream_length",
         "np.array(self.streams)", SLICES),
        ("streams overlap", "np.array(self.streams) * self.stream_length",
         "np.array(self.streams) * (self.stream_length - 1)", SLICES),
    ),
    *planted(
        "batches.py", "window", "test_batches.py",
        ("windows overlap", "place * self.seq_length", "place * max(1, self.seq_length - 1)",
         SLICES),
        ("targets are the inputs", "ids[1:]", "ids[:-1]", SLICES),
        ("only the first epoch begins", "place == 0", "number == 0",
         "test_state_is_zero_at_the_start_of_each_epoch_only"),
        ("the last window of an epoch is left out", "number % self.windows_per_epoch",
         "number % max(1, self.windows_per_epoch - 1)", SLICES),
    ),
    *planted(
        "batches.py", "split_streams", "test_batches.py",
        ("held-out streams overlap", "np.cumsum(lengths) - lengths",
         "np.arange(streams) * shortest", ONCE),
    ),
    *planted(
        "batches.py", "_held_out_windows", "test_batches.py",
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

LOWEST_LOSS = "test_the_loss_is_lowest_there"
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
        ("the norm returned is that after clipping", "math.inf))\n    return norm",
         "math.inf))\n    return norm * scale", "test_the_norm_returned_is_that_before_clipping"),
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
        ("RMSprop takes beta1", "self.beta2", "self.beta1",
         "test_other_decays_are_the_oracles test_rmsprop_decay_is_0_99"),
        ("RMSprop's epsilon is 1e-10", "1e-08", "1e-10",
         "test_rmsprop_epsilon_is_1e_8_outside_the_root"),
    ),
    *planted(
        "optimizers.py", "Adam._update", "test_update_rules.py",
        ("Adam's decays are swapped", "self.beta1, self.beta2", "self.beta2, self.beta1",
         "test_adam_decays_are_0_9_and_0_999"),
        ("Adam's means keep their bias", "1 - self.beta1 ** self.count", "1.0",
         "test_adam_corrects_the_bias_of_its_means"),
        ("Adam's epsilon is 1e-10", "1e-08", "1e-10",
         "test_adam_epsilon_is_1e_8_outside_the_corrected_root"),
    ),
    *planted(
        "optimizers.py", "Optimizer.__init__", "test_update_rules.py",
        ("a beta2 that is given is ignored", "DEFAULT_BETA2[self.name] if beta2 is None else beta2",
         "DEFAULT_BETA2[self.name]", "test_other_decays_are_the_oracles"),
        ("a beta2 of 0 is the default",
         "DEFAULT_BETA2[self.name] if beta2 is None else beta2",
         "beta2 or DEFAULT_BETA2[self.name]", "test_other_decays_are_the_oracles"),
    ),
    *planted(
        "optimizers.py", "Adagrad.__init__", "test_update_rules.py",
        ("sums start from 0 all the same", "self.initial_accumulator", "0.0",
         "test_adagrads_sums_start_from_the_initial_accumulator"),
    ),
    *planted(
        "optimizers.py", "step", "test_update_rules.py",
        ("weight decay is not by the rate", "learning_rate * self.weight_decay",
         "self.weight_decay", "test_weight_decay_takes_its_share_of_every_weight"),
        ("weight decay adds", "1 - learning_rate", "1 + learning_rate",
         "test_weight_decay_takes_its_share_of_every_weight"),
    ),
    *planted(
        "optimizers.py", "learning_rate_at", "test_schedules.py",
        ("the floor is added to the whole rate", "(rate - floor) * factor", "rate * factor",
         "test_a_floor_is_where_the_schedule_ends"),
        ("the floor is not warmed up", "floor *= (step + 1) / warmup", "pass",
         "test_whole_run.py::test_a_run_agrees_with_the_oracle"),
        ("the stepwise schedule falls a step late", "step >= start * steps", "step > start * steps",
         "test_step_leaves_a_tenth_and_then_a_hundredth"),
        ("linear ends a step early", "1 - step / steps", "1 - (step + 1) / steps",
         "test_linear_falls_by_equal_amounts_to_one_of_them"),
        ("cosine is a whole cosine", "math.pi * step", "2 * math.pi * step",
         "test_cosine_is_half_a_cosine"),
        ("cosine swings below 0", "0.5 * (1 + math.cos(math.pi * step / steps))",
         "math.cos(math.pi * step / steps)", "test_cosine_is_half_a_cosine"),
        ("the warm-up starts from 0", "rate *= (step + 1) / warmup", "rate *= step / warmup",
         "test_the_rate_rises_to_the_schedules_own"),
    ),
)  # fmt: skip

TIMING = "test_a_wrong_timing_estimate_is_corrected"
EVALUATIONS = "test_evaluations_count_with_their_measured_time"
BEFORE = "test_a_resumed_run_counts_the_time_already_spent"

CLOCK = (
    *planted(
        "thread_tuner.py", "_try_next", "test_thread_tuner.py",
        ("the slowest number of threads wins", "min(self._tried", "max(self._tried",
         "test_a_busy_core_from_the_start_is_avoided"),
        ("trials follow without a pause",
         "max(FIRST_PAUSE, (self._now - self._started) / TRIAL_SHARE)", "0.0",
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
        ("any slower block starts a trial", "SLOWER = 1.25", "SLOWER = 1.0",
         "test_a_step_that_varies_a_little_starts_no_trials"),
    ),
    *planted(
        "cli/budget.py", "revise", "test_cli_budget.py",
        ("evaluations count as steps", "record.val_loss is None", "True", EVALUATIONS),
        ("the steps are revised for ever",
         "[time for time in self._revisions if time > seconds]", "self._revisions",
         "test_the_number_of_steps_is_final_after_a_tenth_of_the_time"),
        ("a run is made longer at its end", "trainer.step >= trainer.config.steps", "False",
         "test_a_run_at_its_last_step_has_ended"),
        ("the measured timing is ignored",
         "self._timing._replace(step=max(least, self._stepping / self._steps))", "self._timing",
         TIMING),
        ("the trainer's length is not changed",
         "trainer.set_length(max(steps, trainer.step + 1))", "pass", TIMING),
    ),
    *planted(
        "cli/budget.py", "total_steps", "test_cli_budget.py",
        ("no time is left for saving", " * TIME_FRACTION", "", TIMING),
        ("the steps done are forgotten", "return done + max", "return max", TIMING),
        ("evaluations take no time",
         "timing.evaluation / eval_every if eval_every else math.inf", "0.0", EVALUATIONS),
        ("what the run took before is forgotten", "60 * budget.minutes - seconds",
         "60 * budget.minutes", BEFORE),
    ),
    *planted(
        "array_checks.py", "as_ids", "test_model_arguments.py",
        ("negative ids pass", "array.view(np.uint32) if is_plain else array", "array",
         "test_wrong_inputs_are_refused"),
        ("negative ids of other types pass", "array.min() < 0", "False",
         "test_wrong_inputs_are_refused"),
    ),
    *planted(
        "model.py", "_mark_active", "test_optimizers.py",
        ("gradients of the window before stay", "np.logical_or(present, self._written, out=used)",
         "used[:] = present", "test_a_gradient_is_of_its_own_window[1]"),
    ),
)  # fmt: skip

TEMPERATURE = (
    *planted(
        "temperature.py", "_derivatives", "test_temperature.py",
        ("characters beyond a stream's end count", "[:, None] < valid", "[:, None] < valid + 999",
         LOWEST_LOSS),
        ("the slope is that at temperature 1", "np.exp(inverse * z)", "np.exp(z)", LOWEST_LOSS),
        ("windows are read from zero state", "logits, state =", "logits, _ =", LOWEST_LOSS),
    ),
    *planted(
        "temperature.py", "fit_temperature", "test_temperature.py",
        ("the inverse is returned", "return 1 / inverse", "return inverse", LOWEST_LOSS),
        ("nothing bounds it", "step if low < step < high else math.sqrt(low * high)", "step",
         "test_it_stays_within_its_bounds"),
    ),
    *planted(
        "temperature.py", "at_temperature", "test_temperature.py",
        ("the model stays at the temperature", "finally:\n        for name in names:",
         "finally:\n        for name in ():", "test_the_model_is_as_before"),
        ("the bias is not divided", "'head.weight', 'head.bias'", "('head.weight',)", LOWEST_LOSS),
    ),
    *planted(
        "cli/evaluate.py", "evaluate", "test_temperature.py",
        ("it is fitted on what is reported", "_fitted(model, fitting, text,",
         "_fitted(model, text, text,", "test_eval_fits_it_on_val_and_reports_the_part"),
        ("that val is reported is not told", "part == 'val'", "False",
         "test_eval_says_where_it_was_fitted"),
    ),
)  # fmt: skip

FITS = "test_of_several_runs_the_best_for_each_text_is_marked"
SAME = "test_all_runs_score_the_same_characters"

COMPARISON = (
    *planted(
        "cli/comparison.py", "_best", "test_cli_comparison.py",
        ("with one run, every text is the best", "len(results) > 1", "True",
         "test_several_texts_are_scored_each_by_itself"),
        ("of several runs, the first run's best text is marked", "len(results) > 1", "False", FITS),
        ("the worst is marked", "min(", "max(", FITS),
        ("what is not finite may be the best",
         "filter(math.isfinite, (rival.nats for rival in rivals))",
         "(rival.nats for rival in rivals)",
         "test_a_loss_that_is_not_finite_is_never_the_best"),
    ),
    *planted(
        "cli/comparison.py", "_renumbered", "test_cli_comparison.py",
        ("characters have the ids of the common alphabet",
         "ids if text.lookup is None else ids[text.lookup]", "text.lookup", SAME),
        ("bytes of a file are ids", "ids if text.lookup is None else ids[text.lookup]", "ids",
         f"{SAME}[bytes]"),
    ),
    *planted(
        "cli/comparison.py", "common_vocabulary", "test_cli_comparison.py",
        ("all runs score what any of them knows", "set.intersection", "set.union", SAME),
    ),
    *planted(
        "cli/evaluate.py", "split_arguments", "test_cli_comparison.py",
        ("only the first argument is a run", "_is_run(arguments[count])", "False", FITS),
    ),
    *planted(
        "cli/evaluate.py", "evaluate", "test_cli_comparison.py",
        ("several texts are joined", "len(paths) > 1 and (not part)", "False",
         "test_several_texts_are_scored_each_by_itself"),
        ("a corpus in several files has no parts", "len(paths) > 1 and (not part)",
         "len(paths) > 1", "test_with_a_part_texts_are_joined"),
    ),
)  # fmt: skip

NOTHING_LOST = "test_a_table_takes_the_place_of_nothing_that_is_needed"
NO_TEXT = "test_a_run_that_was_not_trained_has_no_text"

OWN_TEXT = (
    *planted(
        "cli/corpus_source.py", "check_output", "test_cli_evaluate.py",
        ("a link to a checkpoint is no checkpoint", ", os.path.basename(os.path.realpath(path))",
         "", NOTHING_LOST),
        ("a text is written over", "os.path.samefile(file, path)", "False", NOTHING_LOST),
    ),
    *planted(
        "cli/evaluate.py", "evaluate", "test_cli_evaluate.py",
        ("the run's own text is written over", ", *metadata.source.paths]", "]", NOTHING_LOST),
        ("a checkpoint of another name is written over", "[checkpoint, ", "[", NOTHING_LOST),
    ),
    *planted(
        "checkpoint.py", "check_replaceable", "test_checkpoint_failed_saves.py",
        ("a pipe becomes a file", "not os.path.isfile(path)", "False",
         "test_only_a_file_is_replaced"),
    ),
    *planted(
        "cli/corpus_source.py", "read_own_corpus", "test_cli_evaluate.py",
        ("a run without a text of its own is told to name it", "not metadata.has_corpus", "False",
         NO_TEXT),
    ),
    *planted(
        "dynamic_evaluation.py", "evaluate_dynamic", "test_dynamic_evaluation.py",
        ("a loss that is not finite is reported", "not math.isfinite(total)", "False",
         "test_a_rate_that_makes_no_finite_loss_is_refused"),
        ("the rate is to blame for a model's own NaN", "math.isfinite(before) and ", "",
         "test_a_rate_that_makes_no_finite_loss_is_refused"),
    ),
)  # fmt: skip

MUTANTS = (*TEXT, *OPTIMIZERS, *CLOCK, *TEMPERATURE, *COMPARISON, *OWN_TEXT)

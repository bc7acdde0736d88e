"""Mistakes in sampling and in random draws, and the tests that are meant to see each."""

from _mutation.runner import planted

DRAWS = "test_sampling_draws.py"
TEXT = "test_sampling_reference.py::test_text_is_the_references_over_chunk_borders"
ANY = "test_sampling_reference.py::test_text_is_the_references_in_any_vocabulary"
CHANCES = "test_they_are_the_references"
LONG = "test_primes_and_texts_of_several_chunks"
PRIME = "test_the_state_of_a_primes_earlier_part_is_kept"

MUTANTS = (
    *planted(
        "sampling.py", "_chunks", "test_sampling_reference.py",
        ("a prime longer than 64: the state of its earlier part is forgotten",
         "axis=1), state)", "axis=1), None)", f"{PRIME}[200]"),
        ("a prime's last character is read twice", "min(first + CHUNK, start.size - 1)",
         "min(first + CHUNK, start.size)", f"{PRIME}[64]"),
        ("a prime's pieces overlap", "min(first + CHUNK, start.size - 1)", "start.size - 1",
         f"{PRIME}[200]"),
        ("a prime is not read but for its last character", "load_state(work, state, model.config)",
         "pass", f"{PRIME}[200]"),
        ("random numbers repeat every 64 characters", "key, position)", "key, 0)",
         f"{DRAWS}::test_draws_do_not_repeat_every_chunk"),
        ("the last chunk is a whole one", "min(CHUNK, length - position)", "CHUNK",
         "test_chunks_are_as_long_as_they_say"),
    ),
    *planted(
        "sampling.py", "generate", "test_sampling_reference.py",
        ("the seed is ignored", "check_seed('seed', seed)", "0 * check_seed('seed', seed)",
         f"{DRAWS}::test_no_two_seeds_and_samples_share_a_text"),
    ),
    *planted(
        "vocabulary.py", "Vocabulary.start", "test_sampling_reference.py",
        ("a text without prime starts from the first symbol",
         "self.symbols.index('\\n') if '\\n' in self.symbols else 0", "0",
         "test_a_text_without_prime_starts_from_a_newline"),
        ("without a prime the first symbol is read", "'\\n' in self.symbols", "False",
         "test_draw_probabilities.py::test_a_text_without_prime_follows_a_newline"),
    ),
    *planted(
        "kernels/sampling.py", "generate", DRAWS,
        ("all samples share their draws", "position + n, b)", "position + n, 0)",
         f"{TEXT}[{{}}]"),
        ("draws are the position's in its chunk", "position + n, b)", "n, b)", f"{TEXT}[{{}}]"),
        ("the first layer's state alone moves on", "range(layers)", "range(1)", f"{TEXT}[{{}}]"),
        ("c does not move on", "store(c, i, load(c, i + size))", "pass", f"{TEXT}[{{}}]"),
        ("what is chosen is not read", "inputs[0, b] = symbol", "pass", f"{TEXT}[{{}}]"),
        ("one sample's choice is read by all", "inputs[0, b] = symbol", "inputs[0, :] = symbol",
         f"{TEXT}[{{}}]"),
    ),
    *planted(
        "kernels/sampling.py", "sample_token", DRAWS,
        ("the temperature multiplies", "(weights[v] - highest) / temperature",
         "(weights[v] - highest) * temperature", TEXT),
        ("what top-k and top-p cut off is drawn in part", "total = _filter_top",
         "_filter_top", f"{ANY}[17]"),
        ("a logit that is no number goes unnoticed", "math.isnan(weights[v])", "False",
         "test_sampling_not_finite.py::test_outputs_that_are_not_finite_are_an_error"),
    ),
    *planted(
        "kernels/sampling.py", "_filter_top", DRAWS,
        ("top-k keeps one more", "limit = top_k if", "limit = top_k + 1 if",
         "test_top_k_keeps_k_and_the_first_of_equals"),
        ("top-p of all, not of what top-k keeps", "kept < top_p * popped", "kept < top_p * total",
         "test_top_p_is_of_what_top_k_keeps"),
        ("top-p stops before it is reached", "popped < goal", "popped + weights[heap[0]] < goal",
         "test_top_p_keeps_the_fewest_that_reach_p"),
    ),
    *planted(
        "kernels/sampling.py", "_filter_min", DRAWS,
        ("min-p leaves out what is as likely as the threshold", "weights[v] < least",
         "weights[v] <= least", "test_min_p_keeps_what_reaches_its_share_of_the_likeliest"),
        ("what min-p cuts off is drawn in part", "weights[v] = 0.0", "pass",
         "test_min_p_keeps_what_reaches_its_share_of_the_likeliest"),
    ),
    *planted(
        "stop_finder.py", "feed", "test_stop_finder.py",
        ("a text to stop at is written", "self._held[:start]", "self._held",
         "test_text_ends_before_the_first_stop"),
        ("the start of a text to stop at is written at a chunk's end",
         "len(self._held) - self._margin", "len(self._held)",
         "test_chunks_make_no_difference"),
    ),
    *planted(
        "stop_finder.py", "_encode", "test_stop_finder.py",
        ("a text to stop at that no model writes is told to be skipped",
         "not vocabulary.knows(symbols).all()", "False", "test_wrong_stops_are_refused"),
    ),
    *planted(
        "kernels/sampling.py", "_likelier", DRAWS,
        ("of equals the last is kept", "u < v", "u > v",
         "test_top_k_keeps_k_and_the_first_of_equals"),
    ),
    *planted(
        "kernels/random.py", "uniform", "test_randomness.py",
        ("draws repeat after 2**32 positions", "index >> _WORD_BITS", "np.uint64(0)",
         "test_a_draw_is_a_function_of_key_position_and_stream"),
        ("draws have 32 bits", "high << _WORD_BITS | low", "high << _WORD_BITS",
         "test_a_draw_is_a_function_of_key_position_and_stream"),
    ),
    *planted(
        "kernels/random.py", "", "test_randomness.py",
        ("nine rounds of Philox", "ROUNDS = 10", "ROUNDS = 9", "test_known_answers"),
    ),
    *planted(
        "draw_probabilities.py", "__init__", "test_draw_probabilities.py",
        ("each part of a prime is read from zero state", "(piece[:, None], self._state)",
         "(piece[:, None])", f"{LONG}[131]"),
        ("a prime's end is read twice for probabilities", "start.size - 1)]", "start.size)]",
         f"{LONG}[64]"),
    ),
    *planted(
        "draw_probabilities.py", "of", "test_draw_probabilities.py",
        ("each chunk of a text is read from zero state", "logits, state =", "logits, _ =",
         f"{LONG}[131]"),
        ("the second text follows the first", "found[piece] =",
         "self._state = state; found[piece] =", f"{CHANCES}[{{}}]"),
    ),
    *planted(
        "draw_probabilities.py", "probabilities_of", "test_draw_probabilities.py",
        ("probabilities are those of temperature 1", "scores / choice.temperature", "scores",
         CHANCES),
        ("what the filters cut off counts", "np.where(is_kept | is_drawn, ranked, 0)", "ranked",
         CHANCES),
        ("what was drawn may have been cut off", "is_kept | is_drawn", "is_kept",
         "test_what_was_drawn_was_kept"),
        ("top-p is of all, not of what top-k keeps", "ranked[:, :choice.top_k or None]", "ranked",
         CHANCES),
        ("of equals the last is counted", "np.argsort(-weights, axis=1, kind='stable')",
         "np.argsort(weights, axis=1)[:, ::-1]",
         "test_what_was_drawn_was_kept"),
    ),
    *planted(
        "cli/sample_json.py", "json_lines", "test_draw_probabilities.py",
        ("the prime is always part of the text", "if echo else ids", "",
         "test_text_is_what_sample_writes[whole-no-echo]"),
        ("a prime cut within a character breaks it",
         "vocabulary.decode(np.concatenate([prime, ids]) if echo else ids)",
         "vocabulary.decode(prime) * echo + vocabulary.decode(ids)",
         "test_cli_sample_bytes.py::test_json_has_the_bytes_beside_the_text"),
    ),
    *planted(
        "cli/sample.py", "_Output.write", "test_cli_sample_bytes.py",
        ("each chunk of bytes is decoded by itself", "self._decoder.decode(content)",
         "content.decode('utf-8', 'backslashreplace')", "test_text_has_whole_characters"),
    ),
    *planted(
        "cli/sample.py", "_Output.end", "test_cli_sample_bytes.py",
        ("the start of a last character is lost", "self._decoder.decode(b'', final=True) + ", "",
         "test_text_has_whole_characters"),
    ),
)  # fmt: skip

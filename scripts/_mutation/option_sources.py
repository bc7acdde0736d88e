"""Mistakes in where options come from, and in the file that repeats a run."""

from _mutation.runner import planted

WINS = "test_the_command_line_wins_over_the_file_and_that_over_variables"
REPLACES = "test_what_is_stronger_replaces_what_excludes_it"
RESUMED = "test_variables_do_not_change_a_run_that_is_resumed"
REPEATS = "test_the_file_of_a_run_repeats_it"
WRONG = "test_wrong_files_are_refused_in_one_line"

MUTANTS = (
    *planted(
        "cli/option_sources.py", "Option.resolve_envvar_value", "test_option_sources.py",
        ("a variable wins over an options file",
         "if ctx.default_map and self.name in ctx.default_map:", "if False:", WINS),
        ("an empty variable is a value", "os.environ.get(variable(ctx, self)) or None",
         "os.environ.get(variable(ctx, self))", "test_every_option_has_a_variable"),
    ),
    *planted(
        "cli/option_sources.py", "variable", "test_option_sources.py",
        ("a variable is for all commands", "{PREFIX}_{ctx.info_name}_", "{PREFIX}_",
         "test_every_option_has_a_variable"),
    ),
    *planted(
        "cli/option_sources.py", "drop_superseded", "test_option_sources.py",
        ("of two lengths on one command line, neither is left", "strength + 1:", "strength:",
         REPLACES),
    ),
    *planted(
        "cli/option_sources.py", "_superseded", "test_option_sources.py",
        ("an options file wins over a preset of the command line",
         "PRESETS[value] if name == 'preset' and value else {name: value}", "{name: value}",
         REPLACES),
        ("the learning rate of another optimizer stays", "'optimizer' in chosen", "False",
         REPLACES),
        ("a learning rate of no optimizer goes", "(None, chosen['optimizer'])",
         "(chosen['optimizer'],)", REPLACES),
    ),
    *planted(
        "cli/option_sources.py", "drop_stored", "test_option_sources.py",
        ("variables change a run that is resumed", "_reset(ctx, name)", "pass", RESUMED),
        ("a run that is resumed sees no variables at all", "- {*NOT_STORED}", "- set()", RESUMED),
    ),
    *planted(
        "cli/options_file.py", "own_options", "test_options_file.py",
        ("the file of a run leaves out what it began with",
         "{} if command.init_from is None else {'init_from': command.init_from}", "{}",
         "test_the_file_of_a_run_that_began_with_another"),
        ("the file of a run has the sizes that its text left", "| dict(command.requested)", "",
         "test_the_file_of_a_run_resumes_it"),
        ("the file of a run does not say how its text is read", "'bytes': source.as_bytes",
         "'bytes': False", f"{REPEATS}[everything]"),
        ("the file of a run does not say how its text is decoded",
         "'encoding': source.encoding, 'newlines': source.newlines", "'newlines': 'lf'",
         f"{REPEATS}[decoding]"),
    ),
    *planted(
        "cli/options_file.py", "_check", "test_options_file.py",
        ("a truth value is a whole number", "type(value) is int", "isinstance(value, int)", WRONG),
        ("a fraction is a whole number", "type(value) is int", "type(value) in (int, float)",
         WRONG),
    ),
    *planted(
        "cli/options_file.py", "_toml", "test_options_file.py",
        ("texts are written without escapes",
         "_ESCAPED.sub(lambda match: f'\\\\u{ord(match[0]):04x}', value)", "value",
         "test_what_is_written_is_read"),
    ),
    *planted(
        "cli/options_file.py", "_check_table", "test_options_file.py",
        ("a name that is spelt in two ways counts once", "option.name in values", "False", WRONG),
    ),
)  # fmt: skip

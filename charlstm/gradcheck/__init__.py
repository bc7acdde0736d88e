"""Prove gradients: analytic ones against finite differences, tensor by tensor.

`check_gradients` checks the gradients of any function, `check_model` those of a model;
`default_problem` and `run_problem` make something to check.
"""

from charlstm.gradcheck.differences import TOLERANCE, TensorCheck, check_gradients
from charlstm.gradcheck.problems import Problem, check_model, default_problem, run_problem
from charlstm.gradcheck.report import format_coverage, format_table, to_json

__all__ = [
    "TOLERANCE",
    "Problem",
    "TensorCheck",
    "check_gradients",
    "check_model",
    "default_problem",
    "format_coverage",
    "format_table",
    "run_problem",
    "to_json",
]

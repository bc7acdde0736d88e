"""Prove gradients: analytic ones against finite differences, tensor by tensor.

`check_gradients` checks the gradients of any function, `check_model` those of a model;
`default_case` and `run_case` make something to check.
"""

from charlstm.gradcheck.cases import GradcheckCase, check_model, default_case, run_case
from charlstm.gradcheck.finite_differences import TOLERANCE, check_gradients
from charlstm.gradcheck.report import (
    GradientReport,
    TensorCheck,
    format_coverage,
    format_table,
    to_json,
)

__all__ = [
    "TOLERANCE",
    "GradcheckCase",
    "GradientReport",
    "TensorCheck",
    "check_gradients",
    "check_model",
    "default_case",
    "format_coverage",
    "format_table",
    "run_case",
    "to_json",
]

"""The processor that kernels are compiled for."""

import platform

import llvmlite.binding
import numba

IS_X86 = platform.machine().lower() in ("x86_64", "amd64")
IS_ARM = platform.machine().lower() in ("arm64", "aarch64")


def has_feature(name: str) -> bool:
    """Tell whether the kernels' target has a processor feature (NUMBA_CPU_FEATURES first)."""
    features = numba.config.CPU_FEATURES
    if features is not None:
        return f"+{name}" in features.split(",")
    return bool(llvmlite.binding.get_host_cpu_features().get(name, False))


def multiplies_bfloat16() -> bool:
    """Tell whether the target has instructions for bfloat16; without them it is emulated."""
    return IS_X86 and has_feature("avx512f") and has_feature("avx512bf16")

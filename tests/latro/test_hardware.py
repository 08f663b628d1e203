"""What devices can do at most: by name, and by numbers."""

import pytest

from latro.errors import InputError
from latro.hardware import GPUS, hardware_given


def test_hardware_by_name_and_by_numbers():
    assert hardware_given("NVIDIA A100-SXM4-80GB").memory == 80e9
    assert hardware_given("NVIDIA L40S").flops == 362e12
    assert hardware_given("90e12,1.5e12,40").bandwidth == 1.5e12
    assert [hardware_given(name).bandwidth for name in ("NVIDIA L40", "NVIDIA L4", "A10G")] == [
        0.86e12,
        0.3e12,
        0.6e12,
    ]
    assert [hardware_given(f"V100-SXM2-{size}GB").memory for size in (16, 32)] == [16e9, 32e9]
    rates = [hardware_given("H100").rate(size, "bfloat16") for size in (4, 2)]
    assert rates == [67e12, 989e12]
    assert [hardware_given("T4").rate(2, half) for half in ("bfloat16", "float16")] == [8.1e12, 65e12]
    slow = [name for name in GPUS if not hardware_given(name).bfloat16]
    assert slow == ["V100-SXM2-16GB", "V100", "T4"]
    with pytest.raises(InputError, match="hardware='RTX A1000'"):  # which is no A10
        hardware_given("RTX A1000")
    with pytest.raises(InputError, match=r"hardware='abacus': give FLOP/s,bytes/s,GB"):
        hardware_given("abacus")

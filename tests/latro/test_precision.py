"""Which machine is fast in bfloat16, read off the processor's list of features."""

import pytest
import torch

from latro.precision import bfloat16_is_fast


@pytest.mark.parametrize(
    ("listed", "fast"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16 sha_ni", True),
        ("flags\t\t: fpu amx_bf16 amx_tile", True),
        ("Features\t: fp asimd bf16 i8mm", True),
        ("flags\t\t: fpu avx2", False),
        ("flags\t\t: fpu avx512f not_bf16", False),
        ("model name : bf16", False),
    ],
)
def test_a_processor_is_fast_in_bfloat16_if_it_lists_it(tmp_path, monkeypatch, listed, fast) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor : 0\n{listed}\n")
    assert bfloat16_is_fast(cpuinfo) is fast


def test_a_machine_that_lists_nothing_is_taken_for_slow(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not bfloat16_is_fast(tmp_path / "none")

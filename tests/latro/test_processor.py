"""What Linux says of processors: fields of the first, on x86 and ARM. Without these fast paths would go unused."""

from pathlib import Path

from latro.processor import described, features


def test_the_first_processors_fields_count(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "vendor_id\t: One\nflags\t\t: fpu avx512f\nnothing\n\nvendor_id\t: Two\nflags\t\t: fpu\n"
    )
    assert described(cpuinfo) == {"vendor_id": "One", "flags": "fpu avx512f", "nothing": ""}
    assert features(described(cpuinfo)) == {"fpu", "avx512f"}


def test_arm_lists_features_and_a_missing_file_none(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nFeatures\t: asimd bf16\n")
    assert features(described(cpuinfo)) == {"asimd", "bf16"}
    assert described(tmp_path / "none") == {}
    assert features(described(tmp_path / "none")) == set()

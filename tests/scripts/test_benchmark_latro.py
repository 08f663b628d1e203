"""The smallest benchmark: gradients agree, and the update is ahead of the published scheme's."""

import subprocess
import sys


def test_the_smallest_update_agrees_and_is_ahead():
    command = [sys.executable, "-m", "scripts.benchmark_latro", "size=small", "rounds=1", "parts=[update]"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "gradients differ by" in done.stderr

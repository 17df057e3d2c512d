"""What importing `howdah.envpack` promises: old names work, and a missing library is named with its extra."""

from __future__ import annotations

import subprocess
import sys

import pytest

from howdah import envpack


def test_the_old_name_of_stored_environments_warns() -> None:
    with pytest.warns(DeprecationWarning, match="StoredEnvironment"):
        assert envpack.Entry is envpack.StoredEnvironment
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = envpack.no_such_name


@pytest.mark.parametrize("library", ["isal", "packaging", "elftools"])
def test_without_the_extra_the_error_names_it(library: str) -> None:
    code = f"import sys; sys.modules[{library!r}] = None\nimport howdah.envpack"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = ran.stderr.strip().splitlines()[-1]
    assert last.startswith(f"howdah.errors.EnvironmentMismatch: packing environments needs {library}")
    assert last.endswith("pip install 'howdah[yarn]'")

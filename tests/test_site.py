"""The documentation builds as a site, without dead links."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = sorted(path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md"))


def test_the_site(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=quiet)
    assert done.returncode == 0, done.stderr
    for page in PAGES:
        name = "index.html" if page.name == "index.md" else f"{page.with_suffix('')}/index.html"
        assert (tmp_path / name).is_file(), page
    reference = (tmp_path / "api" / "metarims" / "index.html").read_text()
    assert 'id="metarims.Loop"' in reference
    assert "Algorithm 1" in reference  # docstrings' sources are on the page

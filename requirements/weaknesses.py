"""Print every weakness that `pip-audit --format json` wrote into the given file. Exit 1: there is one; 0: none."""

import json
import sys
from pathlib import Path

looked_at = json.loads(Path(sys.argv[1]).read_text())["dependencies"]
weak = [each for each in looked_at if each.get("vulns")]
for each in weak:
    for one in each["vulns"]:
        mended = ", ".join(one["fix_versions"]) or "no version"
        print(f"{each['name']} {each['version']}: {one['id']}, mended in {mended}")
for each in looked_at:
    if "skip_reason" in each:
        print(f"!!! {each['name']} WAS NOT LOOKED AT: {each['skip_reason']}")
print(f"{len(weak)} of {len(looked_at)} dependencies with a known weakness.")
sys.exit(bool(weak))

"""Download the JavaScript that the repository contains, check it, and write its files.

`python scripts/vendor.py` needs npm, which takes the packages from its configured registry. DVC
writes plots for Vega 5; version 6 warns about each of them. Tests compare the files with the table.
"""

import hashlib
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLOTS_PAGE = ROOT / ".dvc" / "plots" / "page.html"
"""The page of `dvc plots show`, which DVC would else load from a content delivery network."""

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{refresh_tag}
<title>Plots</title>
<style>
body { font: 1rem system-ui, sans-serif; margin: 1rem; }
img { max-width: 100%; height: auto; }
/* pictures of a training after each epoch: small, side by side */
div[id*="_epochs_"] { display: inline-block; width: 15rem; vertical-align: top; }
div[id*="_epochs_"] p { font-size: .75rem; white-space: normal; overflow-wrap: anywhere; }
</style>
<!-- Written by scripts/vendor.py; do not edit. -->
LIBRARIES
</head>
<body>
{plot_divs}
</body>
</html>
"""


@dataclass(frozen=True)
class Package:
    """A JavaScript file of an npm package, with the SHA-256 of the file.

    It is written to `target`, or else becomes part of the page of plots.
    """

    name: str
    version: str
    file: str
    sha256: str
    license: str
    target: Path | None = None

    @property
    def script(self) -> tuple[str, str]:
        """What stands before and after the file in the page of plots."""
        about = f"{self.name} {self.version}, license: {self.license}"
        return f"<!-- {about}\nLICENSE -->\n<script>", "</script>"


PACKAGES = (
    Package(
        "vega", "5.33.1", "build/vega.min.js",
        "463f3db6a40b20e9747b4ed38f37ed0add508838f9141b1cf8366784b07b30c8",
        # the npm package has no license file
        "BSD-3-Clause, Copyright (c) 2015-2023, University of Washington Interactive Data Lab; its "
        "text is that of vega-lite below",
    ),
    Package(
        "vega-lite", "5.23.0", "build/vega-lite.min.js",
        "58c27358e26f2d319cf62f45bc17a4c8362f08645001df2ec8d341eee4097c7f",
        "BSD-3-Clause, Copyright (c) University of Washington Interactive Data Lab",
    ),
    Package(
        "vega-embed", "6.29.0", "build/vega-embed.min.js",
        "12d02acfbe3ec59ef9a37dd4822a2e04e2961b5bbb671bbe661d2221715b99da",
        "BSD-3-Clause, Copyright (c) University of Washington Interactive Data Lab",
    ),
    Package(
        "axe-core", "4.10.3", "axe.min.js",
        "880970c081707360e64f34cea25ff91892f5bc95675b0776925b9709dd8a68bb",
        "MPL-2.0, Copyright (c) Deque Systems, Inc.",
        ROOT / "tests" / "vendor" / "axe.min.js",
    ),
)  # fmt: skip


def main() -> None:
    """Download all packages and write the files."""
    scripts = []
    for package in PACKAGES:
        content, notice = download(package)
        if package.target is None:
            before, after = package.script
            scripts.append(before.replace("LICENSE", notice) + content.decode() + after)
            continue
        package.target.parent.mkdir(exist_ok=True)
        package.target.write_bytes(content)
        print(package.target)
    PLOTS_PAGE.write_text(PAGE.replace("LIBRARIES", "\n".join(scripts)), encoding="utf-8")
    print(PLOTS_PAGE)


def download(package: Package) -> tuple[bytes, str]:
    """Return the file and the license of a package; exit if the file is not that of the table."""
    with tempfile.TemporaryDirectory() as folder:
        name = f"{package.name}@{package.version}"
        command = ["npm", "pack", "--silent", "--pack-destination", folder, name]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).iterdir()
        with tarfile.open(archive) as tar:
            members = {member.name: member for member in tar.getmembers()}
            content = _read(tar, members[f"package/{package.file}"])
            license_file = members.get("package/LICENSE")
            notice = _read(tar, license_file).decode().strip() if license_file else ""
    if hashlib.sha256(content).hexdigest() != package.sha256:
        raise SystemExit(f"{name}: {package.file} does not have the expected SHA-256")
    return content, notice


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None, f"{member.name} is not a file"
    return file.read()


if __name__ == "__main__":
    main()

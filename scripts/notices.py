"""The licences and notices of installed packages as one text: python scripts/notices.py SITE_PACKAGES FILE

Each file that a package's metadata or its folder of metadata has as a licence, notice or list of authors is
in it, under the package's name and version.
"""

import email
import re
import sys
from pathlib import Path

LEGAL = re.compile(r"(licen[cs]e|copying|notice|authors|copyright)", re.IGNORECASE)
RULE = "=" * 100


def legal_files(package: Path) -> list[Path]:
    """The files of a `*.dist-info` folder that are a licence or a notice, sorted."""
    kept = package / "licenses"
    inside = [path for path in kept.rglob("*") if path.is_file()] if kept.is_dir() else []
    beside = [path for path in package.iterdir() if path.is_file() and LEGAL.match(path.name)]
    return sorted({*inside, *beside})


def notices(site_packages: Path) -> str:
    """The text for all packages of a folder."""
    parts = []
    for package in sorted(site_packages.glob("*.dist-info"), key=lambda path: path.name.lower()):
        message = email.message_from_string(
            (package / "METADATA").read_text(encoding="utf-8", errors="replace")
        )
        licence = message.get("License-Expression") or (message.get("License") or "").partition("\n")[0]
        parts.append(f"{RULE}\n{message['Name']} {message['Version']}" + (f" ({licence})" if licence else ""))
        texts = [path.read_text(encoding="utf-8", errors="replace").strip() for path in legal_files(package)]
        parts += texts or ["Its package holds no licence text."]
    return "\n\n".join(parts) + "\n"


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    if len(arguments) != 2 or not Path(arguments[0]).is_dir():
        print("usage: python scripts/notices.py SITE_PACKAGES FILE", file=sys.stderr)
        return 2
    Path(arguments[1]).write_text(notices(Path(arguments[0])), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

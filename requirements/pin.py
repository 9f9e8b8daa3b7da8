# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Write the pinned lists of dependencies, and the same versions as constraints into pyproject.toml.

    uv run requirements/pin.py                       # after a change of the dependencies in pyproject.toml
    uv run requirements/pin.py --upgrade PACKAGE …   # newest versions of these packages
    uv run requirements/pin.py --upgrade             # newest versions of all packages

The versions of pyproject.toml's constraints are kept where the dependencies allow it. uv resolves for all supported
versions of Python and all platforms at once; environment markers say which line applies where. The lists hold names,
versions, markers and hashes only. If any other line would get in, such as the address of an index or a path, nothing is
written and the exit code is 1.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = ROOT / "pyproject.toml"
FOLDER = ROOT / "requirements"

TORCH = re.compile(r"torch|triton|nvidia-.+|cuda-.+")
"""torch and its GPU libraries: a list of their own, because some take them from another index."""

HEADERS = {
    "base.txt": "What the service needs, with the extra s3, except torch.",
    "torch.txt": "torch and its GPU libraries.",
    "build.txt": "What builds the wheel: complete without the other lists.",
    "dev.txt": "What tests, checks and studies need beyond the other lists.",
}
MADE_BY = "# Written by requirements/pin.py; do not edit."

PIN = re.compile(r"(?P<name>[a-z0-9]+(?:-[a-z0-9]+)*)==(?P<version>[0-9][0-9a-z.!]*)(?: ; (?P<marker>[\w.'<>=!() ]+))?")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")

BEGIN = "# Pinned versions: written by requirements/pin.py; do not edit.\n"
END = "# End of the pinned versions.\n"


class PinError(Exception):
    """The lists cannot be written; the message says why."""


def parse(exported: str) -> dict[str, list[str]]:
    """The hashes of each pin (`name==version`, with ` ; marker` where it has one) in a list that uv exported.

    Raises PinError at a line that is neither a pin nor a SHA-256: an address, a path, an option, a version of another
    index (`+cpu`), or a pin without a hash.
    """
    pins: dict[str, list[str]] = {}
    for entry in exported.replace("\\\n", " ").splitlines():
        if not entry.strip() or entry.startswith("#"):
            continue
        pin, *hashes = re.split(r"\s+(?=--hash=)", entry.strip())
        if not PIN.fullmatch(pin):
            raise PinError(f"only `name==version ; marker` may be in a list, not {pin!r}")
        if not hashes or not all(HASH.fullmatch(one) for one in hashes):
            raise PinError(f"each pin needs its SHA-256 hashes and nothing else, not {entry.strip()!r}")
        pins[pin] = hashes
    return pins


def is_torch(pin: str) -> bool:
    """Whether the pin belongs into the list of torch and its GPU libraries."""
    return TORCH.fullmatch(pin.partition("==")[0]) is not None


def divide(base: Iterable[str], build: Iterable[str], everything: Iterable[str]) -> dict[str, list[str]]:
    """The pins of each list; together they are `everything`.

    build.txt is complete, since the image builds the wheel in an environment of its own: what the service needs too is
    in both lists.
    """
    service = [pin for pin in base if not is_torch(pin)]
    builder = list(build)
    torch = [pin for pin in everything if is_torch(pin)]
    elsewhere = {*service, *builder, *torch}
    rest = [pin for pin in everything if pin not in elsewhere]
    return {"base.txt": service, "torch.txt": torch, "build.txt": builder, "dev.txt": rest}


def render(header: str, pins: Iterable[str], hashes: dict[str, list[str]]) -> str:
    """The text of a list."""
    entries = [" \\\n    ".join([pin, *hashes[pin]]) for pin in pins]
    return "\n".join([f"# {header}", MADE_BY, *entries, ""])


def constraints_of(project: str) -> list[str]:
    """The pinned versions in the text of pyproject.toml; empty before the first run."""
    found: list[str] = tomllib.loads(project)["tool"]["uv"].get("constraint-dependencies", [])
    return found


def with_constraints(project: str, pins: Iterable[str], build: Iterable[str]) -> str:
    """The text of pyproject.toml with other pinned versions."""
    before, begin, rest = project.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise PinError(f"pyproject.toml has no region for the pins: the lines {BEGIN.strip()!r} and {END.strip()!r}")
    tables = {"constraint-dependencies": pins, "build-constraint-dependencies": build}
    lines = [f"{name} = [\n" + "".join(f'    "{pin}",\n' for pin in sorted(of)) + "]\n" for name, of in tables.items()]
    return before + BEGIN + "".join(lines if any(tables.values()) else []) + END + after


def uv(*arguments: str, folder: Path) -> str:
    """Standard output of a uv command in a project's folder."""
    done = subprocess.run(["uv", *arguments, "--project", str(folder)], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise PinError(f"`uv {' '.join(arguments)}` failed")
    return done.stdout


def resolve(project: str, upgrade: list[str] | None) -> tuple[str, str, str]:
    """uv's exports: the service with its extra s3, the build, and everything.

    Runs in a temporary folder, so that the uv.lock beside pyproject.toml decides nothing. The constraints become a
    uv.lock first: uv prefers the versions of an existing lock, and gives them up where the dependencies demand it.
    """
    kept = constraints_of(project)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "pyproject.toml"
        if kept and upgrade != []:
            python = tomllib.loads(project)["project"]["requires-python"]
            listed = "".join(f'    "{pin}",\n' for pin in kept)
            file.write_text(
                f'[project]\nname = "pins"\nversion = "0"\nrequires-python = "{python}"\ndependencies = [\n{listed}]\n'
            )
            uv("lock", "--quiet", folder=folder)
        file.write_text(with_constraints(project, [], []))
        uv("lock", "--quiet", *(f"--upgrade-package={one}" for one in upgrade or []), folder=folder)
        export = ("export", "--quiet", "--frozen", "--no-emit-project", "--no-header", "--no-annotate")
        return (
            uv(*export, "--no-default-groups", "--extra", "s3", folder=folder),
            uv(*export, "--only-group", "build", folder=folder),
            uv(*export, "--all-groups", "--all-extras", folder=folder),
        )


def pin(upgrade: list[str] | None) -> None:
    """Write the lists and the constraints. `upgrade`: None keeps versions, an empty list upgrades all packages."""
    project = PROJECT.read_text()
    base, build, everything = (parse(text) for text in resolve(project, upgrade))
    lists = divide(base, build, everything)
    for name, header in HEADERS.items():
        (FOLDER / name).write_text(render(header, lists[name], base | build | everything))
    PROJECT.write_text(with_constraints(project, everything, build))
    print(", ".join(f"{len(pins)} in {name}" for name, pins in lists.items()))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--upgrade", nargs="*", metavar="PACKAGE", help="newest versions, of these packages or of all")
    try:
        pin(parser.parse_args().upgrade)
    except PinError as error:
        sys.exit(f"requirements/pin.py: {error}")


if __name__ == "__main__":
    main()

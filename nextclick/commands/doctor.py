"""`nextclick doctor`: checks a deployment, and says what to do about each fault."""

from typing import TYPE_CHECKING, Annotated

import typer

from nextclick.doctor.roles import Role

if TYPE_CHECKING:
    from nextclick.doctor.finding import Finding

Roles = Annotated[
    list[Role] | None,
    typer.Option("--role", help="What this client does; may be repeated. All roles by default."),
]


def doctor(
    role: Roles = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per line and finding.")] = False,
) -> None:
    """Check the settings, Kafka, the models and this machine, and say what to do about each fault.

    Changes nothing: a probe file is written and deleted where data is kept. Exit code 0 if there is no error, also with
    warnings; else 1.
    """
    import asyncio

    from nextclick.doctor.examination import examine
    from nextclick.doctor.finding import Level, counted, from_message
    from schemas.errors import SettingsError
    from schemas.settings import load_settings

    try:
        settings = load_settings()
    except SettingsError as error:
        findings = [from_message("settings", str(error))]
    else:
        findings = asyncio.run(examine(settings, role or list(Role)))
    for finding in findings:
        typer.echo(_json_line(finding) if json else _lines(finding))
    if not json:
        counts = {level: sum(finding.level is level for finding in findings) for level in Level}
        typer.echo(f"{counted(counts[Level.ERROR], 'error')}, {counted(counts[Level.WARNING], 'warning')}")
    if any(finding.level is Level.ERROR for finding in findings):
        raise typer.Exit(1)


def _json_line(finding: "Finding") -> str:
    import json
    from dataclasses import asdict

    return json.dumps(asdict(finding), ensure_ascii=False)


def _lines(finding: "Finding") -> str:
    first = f"{finding.level:11}  {finding.check:11}  {finding.meaning}"
    return f"{first}\n{'':11}  {'':11}  → {finding.way_out}" if finding.way_out else first

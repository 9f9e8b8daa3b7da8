"""`nextclick settings`: every setting, its present value and its meaning."""

from rich.console import Console
from rich.table import Table

from schemas.settings import PREFIX, Settings, load_settings


def settings() -> None:
    """List every setting with its present value and its meaning."""
    values = load_settings()
    table = Table("setting", "value", "meaning", title="Settings (environment or .env)")
    for name, field in Settings.model_fields.items():
        table.add_row(PREFIX + name.upper(), str(getattr(values, name)), field.description)
    Console().print(table)

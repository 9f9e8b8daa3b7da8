"""Known-good settings that ship as files for `nextclick train --preset NAME`. Light to import.

Each file says at its top where its settings come from. `trainer.presets` has the settings that code uses.
"""

from pathlib import Path

PRESETS = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.toml"))}
"""Name → a file of options of `train`."""

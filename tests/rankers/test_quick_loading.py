"""Loading a network costs a worker neither memory nor time beside its weights."""

import subprocess
import sys

import pytest

from rankers.contract import NetworkFamily
from rankers.families import FAMILIES

LOAD = """
import sys
from rankers.families import network_family_of
from trainer.presets import FAMILY_DEFAULTS

family = network_family_of(sys.argv[1])
network = family.untrained(FAMILY_DEFAULTS[sys.argv[1]].shape(50))
family.load(family.config(network), family.save(network), 50)
print("sympy" in sys.modules)
"""


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if isinstance(family, NetworkFamily)])
def test_a_network_is_loaded_without_the_compiler_of_torch(family: str) -> None:
    done = subprocess.run([sys.executable, "-c", LOAD, family], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False", "150 MB and a second of CPU time, at each start of a worker"

"""Environment variables that Kubernetes and Docker make from the name of a service.

For a Service `nextclick-web`, Kubernetes sets NEXTCLICK_WEB_SERVICE_HOST, NEXTCLICK_WEB_SERVICE_PORT,
NEXTCLICK_WEB_SERVICE_PORT_HTTP, NEXTCLICK_WEB_PORT=tcp://10.96.0.12:6066, NEXTCLICK_WEB_PORT_6066_TCP=tcp://…,
NEXTCLICK_WEB_PORT_6066_TCP_PROTO, …_PORT and …_ADDR in every pod of the namespace. A Docker link `nextclick-web` sets
those that begin with NEXTCLICK_WEB_PORT, and NEXTCLICK_WEB_NAME and NEXTCLICK_WEB_ENV_….
"""

import re
from collections.abc import Collection, Mapping


def service_links(variables: Mapping[str, str | None], settings: Collection[str]) -> set[str]:
    """The names of variables that were made from a service's name and are not settings.

    A name alone is not enough: NEXTCLICK_WEP_PORT=6066 is a misspelt setting, NEXTCLICK_WEP_PORT=tcp://10.96.0.12:6066
    is not.

    Args:
        variables: name → value.
        settings: the names of all settings, in upper case.
    """
    values = {name.upper(): value or "" for name, value in variables.items()}
    linked = tuple(name.removesuffix("PORT") for name in values if name.endswith("_PORT") and is_address(values[name]))
    return {
        name
        for name in variables
        if name.upper() not in settings
        and (_is_link(name.upper(), values[name.upper()]) or _is_docker_link(name.upper(), linked))
    }


def is_address(value: str) -> bool:
    """Whether a value has the form of a service's address: `tcp://10.96.0.12:6066`."""
    return value.startswith(("tcp://", "udp://", "sctp://"))


def service_of(setting: str) -> str | None:
    """The name of the service that sets a variable of this name to its address; None if no service does."""
    service = setting.removesuffix("_PORT")
    return service.lower().replace("_", "-") if service != setting else None


def _is_link(name: str, value: str) -> bool:
    """Whether name and value together are those of a service's variable."""
    return (
        re.fullmatch(r".+_SERVICE_HOST|.+_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?", name) is not None
        or (re.fullmatch(r".+_SERVICE_PORT(_\w+)?", name) is not None and value.isdigit())
        or (name.endswith("_PORT") and is_address(value))
    )


def _is_docker_link(name: str, linked: tuple[str, ...]) -> bool:
    """Whether a variable is a link's _NAME or _ENV_…; `linked` are the beginnings of names, as in `NEXTCLICK_WEB_`."""
    return any(name == f"{start}NAME" or name.startswith(f"{start}ENV_") for start in linked)

from pathlib import Path

import pytest

from schemas.errors import SettingsError
from schemas.settings import Settings, load_settings


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NEXTCLICK_BROKER", raising=False)
    monkeypatch.delenv("NEXTCLICK_PARTITIONS", raising=False)
    return tmp_path / ".env"


TEXT = 'NEXTCLICK_BROKER="kafka-1:9092"\r\n# größer\r\nNEXTCLICK_PARTITIONS=3\r\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_as_windows_writes_it(env_file: Path, encoding: str) -> None:
    env_file.write_bytes(TEXT.encode(encoding))
    settings = load_settings()
    assert (settings.broker, settings.partitions) == ("kafka-1:9092", 3)
    if encoding != "utf-16":
        assert Settings().broker == "kafka-1:9092"


def test_a_misspelt_name_after_a_byte_order_mark_is_found(env_file: Path) -> None:
    env_file.write_bytes("NEXTCLICK_BROKR=kafka-1:9092\r\n".encode("utf-8-sig"))
    with pytest.raises(SettingsError, match=r"NEXTCLICK_BROKR \(from .env\) is not a setting: did you mean"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'A=1\nNEXTCLICK_BROKER="kafka-1:9092\n',
            r"\.env, line 2: 'NEXTCLICK_BROKER=\"kafka-1:9092' is not NAME=value",
        ),
        ('A="x\nNEXTCLICK_BROKER="y"\n', r"goes on over several lines|is not NAME=value"),
        ('NEXTCLICK_DATA_DIR="C:\\new\\table"\n', r"\.env, line 1: NEXTCLICK_DATA_DIR='C:\\new\\table' has a control"),
    ],
)
def test_a_line_that_would_be_lost_is_refused(env_file: Path, text: str, message: str) -> None:
    env_file.write_text(text)
    with pytest.raises(SettingsError, match=message):
        load_settings()


@pytest.mark.parametrize(
    "line",
    [
        '$env:NEXTCLICK_PARTITIONS="3"',
        "\ufeffNEXTCLICK_PARTITIONS=3",
        "\u200bNEXTCLICK_PARTITIONS=3",
        '"NEXTCLICK_PARTITIONS": 3',
        "NEXTCLICK_PARTITIONS",
        "set NEXTCLICK_PARTITIONS=3",
    ],
)
def test_a_line_in_another_programs_form_is_refused(env_file: Path, line: str) -> None:
    env_file.write_text(f"# settings of NEXTCLICK_PARTITIONS\nOTHER=$NEXTCLICK_X\n{line}\n")
    with pytest.raises(SettingsError, match=r"\.env, line 3: .* is not (NEXTCLICK_…|NAME)=value"):
        load_settings()


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32"])
def test_wide_characters_without_a_mark_are_refused(env_file: Path, encoding: str) -> None:
    env_file.write_bytes("NEXTCLICK_PARTITIONS=3\r\n".encode(encoding))
    with pytest.raises(SettingsError, match=r"\.env has zero bytes, as UTF-16 and UTF-32 have: save the file as UTF-8"):
        load_settings()


@pytest.mark.parametrize("kind", ["folder", "dangling link", "loop of links"])
def test_what_is_no_file_is_refused(env_file: Path, kind: str) -> None:
    if kind == "folder":
        env_file.mkdir()
    else:
        env_file.symlink_to("nowhere" if kind == "dangling link" else ".env")
    with pytest.raises(SettingsError, match=r"\.env cannot be read \(.*\): mend it, or remove it"):
        load_settings()


def test_another_encoding_is_refused_with_its_line(env_file: Path) -> None:
    env_file.write_bytes(TEXT.encode("windows-1252"))
    with pytest.raises(SettingsError, match=r"\.env, line 2: byte 0xf6 is not UTF-8: save the file as UTF-8"):
        load_settings()


def test_lines_of_other_programs_are_theirs(env_file: Path) -> None:
    env_file.write_text('KEY="-----BEGIN\nabc\n-----END"\nodd line\nNEXTCLICK_PARTITIONS=5\n')
    assert load_settings().partitions == 5

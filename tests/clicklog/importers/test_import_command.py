import gzip
from pathlib import Path

import polars as pl
import pytest

from clicklog.click_files import read_click_file
from tests.command_line import Command

RSC15 = """\
1,2014-04-07T10:51:09.277Z,214536502,0
1,2014-04-07T10:54:09.868Z,214536500,0
2,2014-04-07T13:56:37.614Z,214662742,S
2,2014-04-07T13:57:19.373Z,214662742,12
"""
DIGINETICA = """\
sessionId;userId;itemId;timeframe;eventdate
1;NA;81766;526309;2016-05-09
1;NA;31331;1031018;2016-05-09
2;17;32118;0;2016-05-10
"""
RETAILROCKET = """\
timestamp,visitorid,event,itemid,transactionid
1433221332117,257597,view,355908,
1433224214164,992329,view,248676,
1433223132117,257597,view,8,
1433224932118,257597,view,9,
1433221999827,111016,addtocart,318965,
1433221332118,257597,transaction,356475,4000
"""


def rows(path: str) -> list[tuple[object, ...]]:
    return read_click_file(Path(path)).frame.rows()


@pytest.mark.parametrize("out", ["clicks.parquet", "clicks.csv"])
def test_rsc15(nextclick: Command, tmp_path: Path, out: str) -> None:
    (tmp_path / "yoochoose-clicks.dat").write_text(RSC15)
    code, output, errors = nextclick("import", "rsc15", "yoochoose-clicks.dat", "--out", out)
    assert code == 0, errors
    assert rows(out) == [
        (1, 214536502, 1396867869277),
        (1, 214536500, 1396868049868),
        (2, 214662742, 1396878997614),
        (2, 214662742, 1396879039373),
    ]
    assert output.strip() == f"{out}: 4 clicks, 2 sessions, 3 items, 2014-04-07 10:51 to 2014-04-07 13:57 UTC"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == [], "no half file stays"


def test_diginetica_is_ordered_by_day_and_timeframe(nextclick: Command, tmp_path: Path) -> None:
    (tmp_path / "train-item-views.csv").write_text(DIGINETICA)
    assert nextclick("import", "diginetica", "train-item-views.csv", "--out", "clicks.parquet")[0] == 0
    day = 1462752000000
    assert rows("clicks.parquet") == [
        (1, 81766, day + 526309),
        (1, 31331, day + 1031018),
        (2, 32118, day + 86_400_000),
    ]


def test_retailrocket_views_are_cut_where_a_visitor_was_silent(nextclick: Command, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(RETAILROCKET)
    assert nextclick("import", "retailrocket", "events.csv", "--out", "clicks.parquet")[0] == 0
    found = {(session, item) for session, item, _ in rows("clicks.parquet")}
    # 257597: 355908, 30 min later 8 (the same session), 30 min and 1 ms later 9 (another)
    assert found == {(0, 355908), (0, 8), (1, 9), (2, 248676)}
    assert nextclick("import", "retailrocket", "events.csv", "--out", "clicks.parquet", "--gap", "29m")[0] == 0
    assert len({session for session, _, _ in rows("clicks.parquet")}) == 4


def test_csv_by_the_names_of_its_columns(nextclick: Command, tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("when\tsku\twho\n2020-01-01 00:00:01\tA 1\t7\n2020-01-01T00:00:02.5Z\tB\t7\n")
    arguments = ["--session", "who", "--item", "sku", "--time", "when", "--time-format", "iso", "--separator", r"\t"]
    code, _, errors = nextclick("import", "csv", "a.tsv", "--out", "clicks.parquet", *arguments)
    assert code == 0, errors
    assert rows("clicks.parquet") == [(7, "A 1", 1577836801000), (7, "B", 1577836802500)]


def test_csv_compressed_without_times_and_with_ids_that_only_look_like_numbers(
    nextclick: Command, tmp_path: Path
) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"session_id,item_id\n1,007\n1,7\n"))
    assert nextclick("import", "csv", "a.csv.gz", "--out", "clicks.parquet", "--time", "")[0] == 0
    assert rows("clicks.parquet") == [(1, "007", None), (1, "7", None)]


def test_csv_of_visitors_in_seconds(nextclick: Command, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("session_id,item_id,timestamp\nv,1,100\nw,1,100.25\nv,2,161\n")
    arguments = ["--time-format", "s", "--gap", "60s"]
    code, _, errors = nextclick("import", "csv", "a.csv", "--out", "clicks.parquet", *arguments)
    assert (code, errors) == (0, "")
    assert sorted(rows("clicks.parquet")) == [(0, 1, 100_000), (1, 2, 161_000), (2, 1, 100_250)]


@pytest.mark.parametrize(
    ("log", "text", "message"),
    [
        ("rsc15", RSC15.replace("214662742,S", "x,S"), "line 3 of log is no click: item_id cannot be read from"),
        ("rsc15", RSC15 + "3,2014-04-07T1\n", "line 5 of log is no click: item_id and timestamp cannot be read"),
        ("rsc15", RSC15.replace("T1", " noon "), "4 of 4 lines are like that"),
        ("rsc15", "1,2014-04-07T10:51:09.277Z,3,0,1,5\n", "log has 6 fields in its first line, and this log has 4"),
        ("rsc15", "", "log cannot be read: "),
        ("diginetica", DIGINETICA.replace(";", ","), "log has no column sessionId, itemId, timeframe, eventdate"),
        ("diginetica", DIGINETICA.replace("2016-05-10", "2016-13-10"), "line 4 of log is no click: timestamp cannot"),
        ("diginetica", DIGINETICA.splitlines()[0] + "\n", "log holds no clicks"),
        ("retailrocket", RETAILROCKET.replace("view", "look"), "log holds no clicks"),
        ("retailrocket", RETAILROCKET.replace("1433224214164", "-5"), "line 3 of log is no click: timestamp"),
        ("csv", "a,b\n1,2\n", "log has no column session_id, item_id, timestamp: its first line names a, b"),
        ("csv", "session_id,item_id,timestamp\n1,2,soon\n", "line 2 of log is no click: timestamp cannot be read from"),
        ("csv", "session_id,item_id,timestamp\n1,,3\n", "line 2 of log is no click: item_id cannot be read from"),
    ],
)
def test_a_bad_log_is_one_line_and_writes_nothing(
    nextclick: Command, tmp_path: Path, log: str, text: str, message: str
) -> None:
    (tmp_path / "log").write_text(text)
    (tmp_path / "clicks.parquet").write_text("what was there before")
    code, _, errors = nextclick("import", log, "log", "--out", "clicks.parquet")
    assert code == 1
    assert message in errors
    assert errors.startswith("nextclick: ")
    assert errors.count("\n") == 1
    assert (tmp_path / "clicks.parquet").read_text() == "what was there before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clicks.parquet", "log"]


def test_a_file_that_cannot_be_put_in_its_place_leaves_nothing(
    nextclick: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "log").write_text(RSC15)
    monkeypatch.setattr(Path, "replace", full)
    code, _, errors = nextclick("import", "rsc15", "log", "--out", "clicks.parquet")
    assert code == 1
    assert "--out clicks.parquet cannot be written: No space left on device" in errors
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["rsc15", "none.dat", "--out", "a.parquet"], 1, "none.dat does not exist"),
        (["rsc15", "log", "--out", "a.xlsx"], 1, "--out a.xlsx: clicks are written as .parquet or .csv"),
        (["rsc15", "log", "--out", "no/a.csv"], 1, "--out no/a.csv: give a new file in a folder that exists"),
        (["retailrocket", "log", "--out", "a.csv", "--gap", "soon"], 2, "--gap"),
        (["csv", "log", "--out", "a.csv", "--separator", "ab"], 1, "the separator is 'ab'"),
        (["csv", "log", "--out", "a.csv", "--time", "", "--gap", "1h"], 1, "name the column of the time"),
    ],
)
def test_wrong_arguments(nextclick: Command, tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    (tmp_path / "log").write_text(RSC15)
    found, _, errors = nextclick("import", *arguments)
    assert found == code
    assert message in errors


def test_split_gives_train_what_it_can_read(nextclick: Command, tmp_path: Path) -> None:
    hour = 3_600_000
    train = [(n, item, n * hour + item) for n in range(10) for item in (1, 2)]
    test = [(99, item, 30 * hour + item) for item in (1, 5, 2)]
    frame = pl.DataFrame(train + test, schema=["session_id", "item_id", "timestamp"], orient="row")
    frame.write_parquet(tmp_path / "all.parquet")
    code, output, errors = nextclick("split", "all.parquet", "--out", "s.csv", "--test", "5h", "--valid", "0.2")
    assert code == 0, errors
    assert "s.csv: 22 of 23 clicks" in output
    assert len(read_click_file(tmp_path / "s.csv", ["train"]).frame) == 16
    assert len(read_click_file(tmp_path / "s.csv", ["valid"]).frame) == 4
    assert read_click_file(tmp_path / "s.csv", ["test"]).frame["item_id"].to_list() == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--test", "soon"], 2, "--test"),
        (["--test", "1.5"], 1, "1.5 is no share of the sessions"),
        (["--test", "30d"], 1, "30 days leaves no session on one side"),
        (["--out", "a.txt"], 1, "--out a.txt: clicks are written as"),
        (["--test", "0.5", "--min-support", "99"], 1, "is left with item support ≥ 99"),
    ],
)
def test_split_says_what_is_wrong(
    nextclick: Command, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    frame = pl.DataFrame({"session_id": [1, 1, 2, 2], "item_id": [1, 2, 1, 2], "timestamp": [1, 2, 3, 4]})
    frame.write_parquet(tmp_path / "all.parquet")
    found, _, errors = nextclick("split", "all.parquet", "--out", "s.csv", *arguments)
    assert found == code
    assert message in errors


BROWSING = """\
session_id_hash,event_type,product_action,product_sku_hash,server_timestamp_epoch_ms
aa,event_product,detail,sku1,1550885210881
aa,pageview,,,1550885211000
aa,event_product,detail,sku2,1550885213307

aa,event_product,remove,sku2,1550885215000
"""
BROWSING_COLUMNS = [
    "--session", "session_id_hash", "--item", "product_sku_hash", "--time", "server_timestamp_epoch_ms"
]  # fmt: skip


def test_rows_that_are_no_clicks_are_chosen_or_skipped_and_counted(nextclick: Command, tmp_path: Path) -> None:
    (tmp_path / "browsing.csv").write_text(BROWSING)
    arguments = ["import", "csv", "browsing.csv", "--out", "clicks.parquet", *BROWSING_COLUMNS]
    code, _, errors = nextclick(*arguments)
    assert code == 1
    assert "line 3 of browsing.csv is no click: item_id cannot be read from session_id_hash 'aa', product_sku" in errors
    assert "--skip-invalid" in errors
    assert "--where" in errors
    code, _, errors = nextclick(*arguments, "--where", "product_action=detail")
    assert code == 0, errors
    assert errors == "browsing.csv: 2 of 4 rows left out: not product_action=detail (2)\n"
    assert [item for _, item, _ in rows("clicks.parquet")] == ["sku1", "sku2"]
    code, _, errors = nextclick(*arguments, "--skip-invalid")
    assert code == 0, errors
    assert errors.startswith("browsing.csv: 1 of 4 rows left out: no valid click, first in line 3: item_id from")
    assert [item for _, item, _ in rows("clicks.parquet")] == ["sku1", "sku2", "sku2"]
    code, _, errors = nextclick(*arguments, "--where", "product_action=add")
    assert code == 1
    assert "browsing.csv holds no clicks (browsing.csv: 4 of 4 rows left out: not product_action=add (4))" in errors


def test_titles_with_quote_signs(nextclick: Command, tmp_path: Path) -> None:
    titles = {9: '"Heroes (single)', 150: 'the 7" single'}
    lines = [f"{n // 4},{titles.get(n, 'lamp')},{100 + n % 10},{1_700_000_000_000 + n}" for n in range(200)]
    (tmp_path / "a.csv").write_text("session_id,title,item_id,timestamp\n" + "\n".join(lines) + "\n")
    code, output, errors = nextclick("import", "csv", "a.csv", "--out", "clicks.parquet")
    assert code == 0, errors
    assert output.startswith("clicks.parquet: 200 clicks, 50 sessions, 10 items")
    lines[20] = '5,"a lamp, red",100,1700000000020'
    (tmp_path / "a.csv").write_text("session_id,title,item_id,timestamp\n" + "\n".join(lines) + "\n")
    code, _, errors = nextclick("import", "csv", "a.csv", "--out", "clicks.parquet")
    assert code == 1
    assert "a.csv, lines 11 to 152: the quote signs have no sure meaning" in errors


def test_a_title_with_a_separator_moves_no_field(nextclick: Command, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("session_id,title,item_id,timestamp\n1,lamp,5,1700000000000\n1,red, 6,7,1700\n")
    code, _, errors = nextclick("import", "csv", "a.csv", "--out", "clicks.parquet", "--time", "")
    assert code == 1
    assert "a.csv, line 3: '1,red, 6,7,1700' has more fields than the 4 of the first line" in errors


def test_null_marks_float_ids_and_seconds(nextclick: Command, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "session_id,item_id,timestamp\n1.0,100.0,1396873412\n1.0,NULL,1396873413\n1.0,7.0,1396873414\n"
    )
    code, _, errors = nextclick("import", "csv", "a.csv", "--out", "clicks.parquet", "--skip-invalid")
    assert code == 0, errors
    assert rows("clicks.parquet") == [(1, 100, 1396873412000), (1, 7, 1396873414000)]
    assert "a.csv: timestamp is in seconds, and is read so\n" in errors
    assert "a.csv: 1 of 3 rows left out: no valid click, first in line 3: item_id from" in errors
    code, _, errors = nextclick(
        "import", "csv", "a.csv", "--out", "clicks.csv", "--skip-invalid", "--time-format", "ms"
    )
    assert code == 0, errors
    assert "seconds" not in errors
    assert (tmp_path / "clicks.csv").read_text().splitlines()[1] == "1,100,1396873412"


def test_encodings(nextclick: Command, tmp_path: Path) -> None:
    text = "session_id,title,item_id,timestamp\n1,café,a,2019-10-01 00:00:00 UTC\n1,thé,b,2019-10-01 00:00:01 UTC\n"
    (tmp_path / "a.csv").write_bytes(text.encode("windows-1252"))
    code, _, errors = nextclick("import", "csv", "a.csv", "--out", "clicks.parquet")
    assert code == 1
    assert "a.csv, line 2 is not UTF-8" in errors
    assert "--encoding windows-1252" in errors
    (tmp_path / "b.csv").write_bytes(text.encode("utf-16"))
    for arguments in (["a.csv", "--encoding", "windows-1252"], ["b.csv"]):
        code, _, errors = nextclick("import", "csv", *arguments, "--out", "clicks.parquet")
        assert code == 0, errors
        assert rows("clicks.parquet") == [(1, "a", 1569888000000), (1, "b", 1569888001000)]


def test_lines_of_other_events_are_counted(nextclick: Command, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(RETAILROCKET)
    code, _, errors = nextclick("import", "retailrocket", "events.csv", "--out", "clicks.parquet")
    assert code == 0
    assert errors == "events.csv: 2 of 6 rows left out: not event=view (2)\n"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--where", "event"], "'event' is not FIELD=VALUE"),
        (["--where", "=view"], "'=view' is not FIELD=VALUE"),
        (["--quote", "ab"], "--quote ab: give the sign around fields"),
        (["--encoding", "latin-99"], "--encoding latin-99 is not known"),
    ],
)
@pytest.mark.parametrize(
    "command", [["split", "a.csv", "--out", "b.csv"], ["import", "csv", "a.csv", "--out", "b.csv"]]
)
def test_options_without_a_meaning(nextclick: Command, command: list[str], option: list[str], message: str) -> None:
    code, _, errors = nextclick(*command, *option)
    assert code == 2
    assert message in " ".join(errors.replace("│", " ").split())


def test_ids_that_become_texts_late_are_counted_as_they_are(nextclick: Command, tmp_path: Path) -> None:
    lines = [f"{number},{number},{1_700_000_000_000 + number}" for number in range(200)]
    (tmp_path / "raw.csv").write_text("\n".join(["session_id,item_id,timestamp", *lines, "abc,007,1700000000900", ""]))
    for out in ("clicks.csv", "clicks[1].csv", "clicks[1].parquet"):
        code, output, errors = nextclick("import", "csv", "raw.csv", "--out", out)
        assert code == 0, errors
        assert f"{out}: 201 clicks, 201 sessions, 201 items" in output
        assert len(rows(out)) == 201


def test_the_file_that_is_read_is_not_replaced(nextclick: Command, tmp_path: Path) -> None:
    text = "session_id,item_id,timestamp,title\n1,5,1700000000000,lamp\n"
    (tmp_path / "raw.csv").write_text(text)
    (tmp_path / "again.csv").symlink_to("raw.csv")
    for command in (["import", "csv", "raw.csv"], ["split", "raw.csv"]):
        for out in ("raw.csv", "again.csv"):
            code, _, errors = nextclick(*command, "--out", out)
            assert code == 1
            assert f"--out {out} is the file that is read, which would be replaced" in errors
    assert (tmp_path / "raw.csv").read_text() == text

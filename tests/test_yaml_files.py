"""YAML files are read without harm, whatever is in them."""

import time

import pytest
import yaml

from densecf.errors import ConfigError
from densecf.yaml_files import read_yaml

LAUGHS = "a0: &a0 [lol, lol]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LAUGHS, "once its aliases are written out"),
        ("a: &a [*a]", "contains itself"),
        ("[" * 100_000, "nested too deep"),
        ("{a: " * 3000 + "1" + "}" * 3000, "nested too deep"),
        ("when: 2001-99-99", "not a YAML file"),
        ("when: !!timestamp x", "not a YAML file"),
        ("n: !!int ''", "not a YAML file"),
        ("n: !!float x", "not a YAML file"),
        ("? [a, b]\n: 1", "not a YAML file"),
        ("a: !!python/object/apply:os.system ['echo no']", "not a YAML file"),
        ("a: [", "not a YAML file"),
        ("a: 1\n--- \nb: 2", "not a YAML file"),
        ("\x00", "not a YAML file"),
    ],
)
def test_what_cannot_be_read_is_told_at_once(tmp_path, text, words):
    (tmp_path / "a.yaml").write_text(text)
    started = time.monotonic()
    with pytest.raises(ConfigError, match=words) as caught:
        read_yaml(tmp_path / "a.yaml")
    assert str(tmp_path / "a.yaml") in str(caught.value)
    assert len(str(caught.value)) < 2000
    assert time.monotonic() - started < 5


def test_files_that_are_no_text_or_not_there(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not a YAML file"):
        read_yaml(tmp_path / "a.yaml")
    with pytest.raises(ConfigError, match=r"none\.yaml: this mapping cannot be read"):
        read_yaml(tmp_path / "none.yaml", "mapping")
    with open(tmp_path / "huge.yaml", "wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(ConfigError, match="too large"):
        read_yaml(tmp_path / "huge.yaml")


def test_ordinary_aliases_work(tmp_path):
    text = "a: &one {x: 1}\nb: *one\nc: {<<: *one, y: 2}\n"
    (tmp_path / "a.yaml").write_text(text)
    assert (
        read_yaml(tmp_path / "a.yaml") == yaml.safe_load(text) == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}
    )
    (tmp_path / "empty.yaml").write_text("")
    assert read_yaml(tmp_path / "empty.yaml") is None

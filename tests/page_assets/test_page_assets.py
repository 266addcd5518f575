"""The parts of every page: text that stays text, scripts known by their hashes, a library with its licences."""

from __future__ import annotations

import hashlib
import json
import math
import re
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from page_assets import environment, json_block, script_hash, scripts


def test_the_charting_library_is_the_one_that_is_named() -> None:
    vendor = resources.files("page_assets") / "vendor"
    digest = hashlib.sha256((vendor / "echarts.min.js").read_bytes()).hexdigest()
    assert digest in (vendor / "README.md").read_text(encoding="utf-8")
    assert "Apache License" in (vendor / "LICENSE").read_text(encoding="utf-8")
    assert "Apache ECharts" in (vendor / "NOTICE").read_text(encoding="utf-8")


@given(st.recursive(st.text() | st.integers() | st.none(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_any_text_stays_inside_its_json_block(value: Any) -> None:
    block = str(json_block(value))
    assert json.loads(block) == value
    assert not re.search("[<>&\u2028\u2029]", block)


def test_json_has_no_form_for_what_is_not_finite() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_block({"loss": math.nan})


def test_a_script_is_known_by_its_hash() -> None:
    # sha256 of nothing, from the Content Security Policy's own examples
    assert script_hash("") == "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


def test_the_shared_scripts_come_before_the_pages_own() -> None:
    found = scripts("plm_data.report", ("charts.js",))
    assert all(f"const {name} = " in script for name, script in zip(("KIT", "FRAME", "CHARTS"), found[1:], strict=True))
    assert "Apache Software Foundation" in found[0][:1000]


def test_templates_escape_and_an_unknown_name_is_an_error() -> None:
    found = environment("plm_data.report")
    assert found.from_string("{{ x }}").render(x="<b>") == "&lt;b&gt;"
    with pytest.raises(UndefinedError):
        found.from_string("{{ y }}").render(x=1)
    assert found.get_template("base.html") and found.get_template("report.html")

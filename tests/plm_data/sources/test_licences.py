"""Licences by their own wording, in a file's head and in manifests, each beside the nearest that says nothing."""

from __future__ import annotations

import pytest

from plm_data.sources.licences import (
    header_license,
    is_license_file,
    manifest_license,
    recognised_license,
    spdx_expression,
)

GRANT = "Permission is hereby granted, free of charge, to any person obtaining a copy of this software"
NOTICE = "The above copyright notice and this permission notice shall be included in all copies."
BSD = (
    "Redistribution and use in source and binary forms, with or without\n * modification, are permitted provided that the\n"
    " * following conditions are met:\n 1. Redistributions of source code ... 2. Redistributions in binary form must reproduce\n"
)
ENDORSE = " 3. Neither the name of the X nor its contributors may be used to endorse or promote products derived\n from this software"
ADVERTISE = " 3. All advertising materials mentioning features or use of this software must display"
ISC = "Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted"
SAME_NOTICE = ", provided that the above copyright notice and this permission notice appear in all copies."


@pytest.mark.parametrize(
    "text, license_name",
    [
        (f"{GRANT}\n...\n{NOTICE}", "MIT"),
        (f"{GRANT}\n... without restriction.", "MIT-0"),
        (ISC + SAME_NOTICE, "ISC"),
        (ISC + ".", "0BSD"),
        (BSD, "BSD-2-Clause"),
        (BSD + ENDORSE, "BSD-3-Clause"),
        (BSD + ADVERTISE + ENDORSE, "BSD-4-Clause"),
        ("                                 Apache License\n                           Version 2.0, January 2004", "Apache-2.0"),
        ('Licensed under the Apache License, Version 2.0 (the "License");', "Apache-2.0"),
        ("GNU GENERAL PUBLIC LICENSE\n  Version 2, June 1991", "GPL-2.0-only"),
        ("GNU GENERAL PUBLIC LICENSE\n Version 3, 29 June 2007\n ... GNU Affero General Public License", "GPL-3.0-only"),
        ("GNU LESSER GENERAL PUBLIC LICENSE\nVersion 2.1, February 1999\nGNU GPL, version 2", "LGPL-2.1-only"),
        ("GNU LESSER GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007", "LGPL-3.0-only"),
        ("GNU AFFERO GENERAL PUBLIC LICENSE\nVersion 3, 19 November 2007", "AGPL-3.0-only"),
        ("Mozilla Public License Version 2.0\n====", "MPL-2.0"),
        ("This is free and unencumbered software released into the public domain.", "Unlicense"),
        ("Creative Commons Legal Code\n\nCC0 1.0 Universal", "CC0-1.0"),
        ("PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2\n" + ISC + ".", "0BSD AND PSF-2.0"),
        (f"{GRANT} {NOTICE}\n-----\n{BSD}{ENDORSE}", "BSD-3-Clause AND MIT"),
        # What only speaks of a licence.
        ("This is like the MIT License, but no copies are permitted.", None),
        ("All rights reserved.", None),
        ("Redistribution is permitted provided that you ask.", None),
        ("See the GNU General Public License for details.", None),
        ("", None),
    ],
)  # fmt: skip
def test_a_licence_is_known_by_its_own_wording(text: str, license_name: str | None) -> None:
    assert recognised_license(text) == license_name


@pytest.mark.parametrize(
    "before", ['"Commons Clause" License Condition v1.0\n', "Business Source Licence 1.1\n", "**Elastic  License**\n"]
)
def test_what_a_licence_is_taken_back_by_leaves_none(before: str) -> None:
    text = f"Apache License\nVersion 2.0, January 2004\n{GRANT} {NOTICE}"
    assert recognised_license(text) == "Apache-2.0 AND MIT"
    assert recognised_license(before + text) is None


@pytest.mark.parametrize(
    "text, license_name",
    [
        ("# SPDX-License-Identifier: MIT\n", "MIT"),
        ("<!-- SPDX-License-Identifier: Apache-2.0 -->", "Apache-2.0"),
        ("/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */", "GPL-2.0-only WITH Linux-syscall-note"),
        ("(* SPDX-License-Identifier: MIT OR 0BSD *)", "MIT OR 0BSD"),
        ("# SPDX-License-Identifier: LicenseRef-Mine\n", None),
        ("# SPDX-License-Identifier:\n# MIT\n", None),
        ("# SPDX-FileCopyrightText: MIT\n", None),
    ],
)
def test_a_files_head_states_an_expression(text: str, license_name: str | None) -> None:
    assert header_license(text) == license_name


@pytest.mark.parametrize(
    "name, text, license_name",
    [
        ("Cargo.toml", '[package]\nlicense = "MIT/Apache-2.0"', "MIT OR Apache-2.0"),
        ("pyproject.toml", '[project]\nlicense = "BSD-3-Clause"', "BSD-3-Clause"),
        ("pyproject.toml", '[project]\nlicense = {text = "MIT License"}', "MIT"),
        ("pyproject.toml", f'[project]\nlicense = {{text = """{GRANT} {NOTICE}"""}}', "MIT"),
        ("package.json", '{"license": "(MIT OR CC0-1.0)"}', "MIT OR CC0-1.0"),
        ("package.json", '{"license": {"type": "ISC", "url": "x"}}', "ISC"),
        ("package.json", '{"license": "UNLICENSED"}', None),
        ("package.json", '{"license": "SEE LICENSE IN LICENSE.md"}', None),
        ("package.json", '["license"]', None),
        ("package.json", "[" * 100_000, None),
        ("pyproject.toml", '[project]\nlicense = {file = "LICENSE"}', None),
        ("pyproject.toml", '[tool.x]\nlicense = "MIT"', None),
        ("Cargo.toml", "[package", None),
    ],
)
def test_manifests_state_a_licence(name: str, text: str, license_name: str | None) -> None:
    assert manifest_license(name, text) == license_name


def test_names_of_licence_files() -> None:
    for name in ("LICENSE", "LICENCE.md", "license-mit", "COPYING", "COPYING.LESSER", "UNLICENSE", "LICENSES.txt"):
        assert is_license_file(name), name
    for name in ("license.py", "LICENSEE", "copyings", "README.md", "my-license", "licenses"):
        assert not is_license_file(name), name


def test_an_expression_of_endless_nesting_is_none() -> None:
    assert spdx_expression("(" * 100_000 + "MIT" + ")" * 100_000) is None
    assert spdx_expression("mit or apache-2.0") == "MIT OR Apache-2.0"

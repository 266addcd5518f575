"""Programming languages by the names of their files, and what in a tree of code is no work of its authors."""

from __future__ import annotations

import re

# Suffixes (in lower case) of each language; where several share one, the one that most files with it are in.
_SUFFIXES = {
    "ada": "adb ads", "assembly": "asm s", "awk": "awk", "c": "c h", "clojure": "clj cljc cljs", "cmake": "cmake",
    "cobol": "cbl cob", "coffeescript": "coffee", "common-lisp": "lisp lsp cl", "cpp": "cc cpp cxx hh hpp hxx ipp",
    "crystal": "cr", "csharp": "cs", "css": "css", "cuda": "cu cuh", "d": "d", "dart": "dart", "elixir": "ex exs",
    "elm": "elm", "emacs-lisp": "el", "erlang": "erl hrl", "fortran": "f f03 f08 f77 f90 f95 for", "fsharp": "fs fsx",
    "glsl": "frag glsl vert", "go": "go", "graphql": "gql graphql", "groovy": "gradle groovy", "haskell": "hs lhs",
    "html": "htm html", "java": "java", "javascript": "cjs js jsx mjs", "julia": "jl", "kotlin": "kt kts",
    "less": "less", "lua": "lua", "makefile": "mak mk", "markdown": "markdown md", "matlab": "m", "nim": "nim",
    "nix": "nix", "objective-cpp": "mm", "ocaml": "ml mli", "pascal": "pas pp", "perl": "pl pm t", "php": "php",
    "powershell": "ps1 psm1", "prolog": "pro", "protobuf": "proto", "python": "py pyi pyx", "r": "r", "racket": "rkt",
    "restructuredtext": "rst", "ruby": "rake rb", "rust": "rs", "sass": "sass scss", "scala": "sc scala",
    "scheme": "scm ss", "shell": "bash sh zsh", "solidity": "sol", "sql": "sql", "starlark": "bzl", "svelte": "svelte",
    "swift": "swift", "systemverilog": "sv svh", "tcl": "tcl", "terraform": "tf", "tex": "sty tex", "thrift": "thrift",
    "typescript": "cts mts ts tsx", "verilog": "v", "vhdl": "vhd vhdl", "vim-script": "vim", "visual-basic": "bas vb",
    "vue": "vue", "yacc": "y yy", "zig": "zig",
}  # fmt: skip
_BY_SUFFIX = {suffix: language for language, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
_BY_NAME = {
    "build": "starlark", "build.bazel": "starlark", "workspace": "starlark", "cmakelists.txt": "cmake",
    "containerfile": "dockerfile", "dockerfile": "dockerfile", "gemfile": "ruby", "gnumakefile": "makefile",
    "jenkinsfile": "groovy", "justfile": "just", "makefile": "makefile", "rakefile": "ruby", "vagrantfile": "ruby",
}  # fmt: skip
LANGUAGES = frozenset({*_SUFFIXES, *_BY_NAME.values()})

# Folders of what others have written, or machines: left out with all below them.
_VENDORED = """
    _vendor bower_components build carthage dist jspm_packages node_modules out pods site-packages target third-party
    third_party thirdparty vendor vendored __pycache__
"""
_LOCK_FILES = """
    bun.lock cargo.lock composer.lock deno.lock flake.lock gemfile.lock go.sum gradle.lockfile mix.lock
    npm-shrinkwrap.json package-lock.json package.resolved pdm.lock pipfile.lock pnpm-lock.yaml podfile.lock poetry.lock
    pubspec.lock uv.lock yarn.lock
"""
# Prose and pages have long lines by nature.
_LONG_LINES = ("html", "markdown", "restructuredtext", "tex")
# Generators say so at the top of what they write; a file that only speaks of generating says it in a sentence.
_HOW = r"(auto-?|automatically |machine[- ])"
_GENERATED = re.compile(
    rf"@generated\b|\bdo not edit\b|\bthis (file|code|module|header) (was|is|has been) {_HOW}?generated\b"
    rf"|^\W*{_HOW}generated\b|^\W*(code )?generated (by|from|with|using)\b",
    re.IGNORECASE | re.MULTILINE,
)
_HEAD_LINES, _HEAD_CHARS = 15, 4096
# Ours. The Stack (Kocetkov et al. 2022, arXiv 2211.15533) takes 100 and 1,000, which drops tables written by hand and
# modules that are one line of documentation; what a minifier writes has lines of thousands.
_MEAN_LINE, _LONGEST_LINE, _FEW_CHARS = 200, 10_000, 1000
_BINARY_BYTES = 8192


def language_of(name: str) -> str | None:
    """The language of a file by its name without the folder, or None if it is not known."""
    lower = name.lower()
    stem = lower.partition(".")[0]
    if lower in _BY_NAME or (stem in ("dockerfile", "makefile") and "." in lower):
        return _BY_NAME.get(lower) or _BY_NAME[stem]
    return _BY_SUFFIX.get(lower.rpartition(".")[2]) if "." in lower else None


def passed_over(folder: str) -> str | None:
    """Why a folder of this name is left out with all below it, if it is."""
    if folder.startswith("."):
        return "hidden"
    return "vendored" if folder.lower() in _VENDORED.split() else None


def lock_file(name: str) -> bool:
    """Whether a file of this name is a package manager's record of versions."""
    return name.lower() in _LOCK_FILES.split()


def is_binary(data: bytes) -> bool:
    """Whether bytes are no text: git's own test, a null byte near the beginning."""
    return b"\0" in data[:_BINARY_BYTES]


def written_by_machine(language: str, name: str, text: str) -> tuple[str, str] | None:
    """Why a file is no work of an author: ``generated`` or ``minified``, and its detail; else None."""
    head = "\n".join(text[:_HEAD_CHARS].split("\n")[:_HEAD_LINES])
    if found := _GENERATED.search(head):
        return "generated", f"its head says {' '.join(found[0].split())!r}"
    if language in _LONG_LINES:
        return None
    if re.search(r"\.min\.(js|css|mjs)$", name.lower()):
        return "minified", "its name says so"
    lines = text.splitlines() or [""]
    mean, longest = len(text) / len(lines), max(map(len, lines))
    if mean > _MEAN_LINE and len(text) > _FEW_CHARS:
        return "minified", f"lines of {mean:,.0f} characters on average, more than {_MEAN_LINE}"
    if longest > _LONGEST_LINE:
        return "minified", f"a line of {longest:,} characters, more than {_LONGEST_LINE:,}"
    return None

#!/usr/bin/env python3
"""Each SDK header compiles alone, as strict C99 and as C++17, and defines no name but its own."""
import pathlib
import re
import shutil
import subprocess
import sys

INCLUDE = pathlib.Path(__file__).resolve().parents[2] / "sdk" / "include"
WARNINGS = ["-Wall", "-Wextra", "-pedantic-errors", "-Werror", "-fsyntax-only", "-Wshadow",
            "-Wundef"]
NEEDED = {"gcc": ["-std=c99", "-x", "c"], "g++": ["-std=c++17", "-x", "c++"]}
WHERE_THERE = {"clang": ["-std=c99", "-x", "c"], "clang++": ["-std=c++17", "-x", "c++"]}


def compilers():
    for name, flags in {**NEEDED, **WHERE_THERE}.items():
        if shutil.which(name):
            yield name, flags
        elif name in NEEDED:
            sys.exit(f"{name} is missing: apt-get install gcc g++")


def compile_alone(name, flags, header):
    text = f"#include <fngate/{header.name}>\n"
    command = [name, *flags, *WARNINGS, "-I", INCLUDE, "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True)


def foreign_names(header):
    """Macros and functions that this header defines outside fng_ and FNG_."""
    text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
    names = re.findall(r"^\s*#\s*define\s+(\w+)", text, re.M)
    names += re.findall(r"^static inline .*?(\w+)\(", text, re.M)
    names += re.findall(r"^(?:struct|typedef .*?\(?)\s*\*?(\w+)\)? \{", text, re.M)
    guard = f"FNGATE_{header.stem.upper()}_H"
    return [name for name in names if not name.lower().startswith("fng_") and name != guard]


def main():
    failures = 0
    for header in sorted(INCLUDE.glob("fngate/*.h")):
        for name, flags in compilers():
            result = compile_alone(name, flags, header)
            if result.returncode != 0:
                print(f"{header.name} with {name} {flags[0]}:\n{result.stderr}")
                failures += 1
        for name in foreign_names(header):
            print(f"{header.name}: '{name}' does not begin with fng_ or FNG_")
            failures += 1
    print(f"headers: {failures} failures")
    return failures > 0


sys.exit(main())

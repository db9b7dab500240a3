#!/usr/bin/env python3
"""The layout of the plugin ABI: every struct member with offset and size, every constant's value.

    layout.py            compares the SDK headers with layout.txt
    layout.py --update   writes layout.txt

A line that changes or goes breaks plugins that were built before: that needs a new ABI major. A new
line is an addition: it needs a new ABI minor and a line in the history in fngate/plugin.h. Either
way layout.txt changes in the same commit, where a reviewer sees it.
"""
import difflib
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
INCLUDE = HERE.parents[1] / "sdk" / "include"
RECORD = HERE / "layout.txt"


def member_name(declaration):
    pointer = re.search(r"\(\*(\w+)\)", declaration)
    plain = re.search(r"(\w+)\s*(?:\[\w*\])?\s*$", declaration)
    return (pointer or plain).group(1)


def declarations():
    """(struct, [members]) and [constants] of all headers, in a stable order."""
    structs, constants = {}, []
    for header in sorted(INCLUDE.glob("fngate/*.h")):
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
        for name, body in re.findall(r"^struct (\w+) \{(.*?)^\};", text, re.M | re.S):
            members = [member for member in body.split(";") if member.strip()]
            structs[name] = [member_name(member) for member in members]
        for body in re.findall(r"^enum \{(.*?)\};", text, re.M | re.S):
            constants += re.findall(r"\b(FNG_\w+)\s*=", body)
    return structs, constants


def listing(compiler="cc"):
    structs, constants = declarations()
    lines = ["#include <stdio.h>", "#include <stddef.h>"]
    lines += [f"#include <fngate/{header.name}>" for header in sorted(INCLUDE.glob("fngate/*.h"))]
    lines += ["int main(void)", "{"]
    for struct, members in sorted(structs.items()):
        lines.append(f'printf("{struct} %zu\\n", sizeof(struct {struct}));')
        for member in members:
            lines.append(
                f'printf("{struct}.{member} %zu %zu\\n", offsetof(struct {struct}, {member}), '
                f"sizeof(((struct {struct} *)0)->{member}));"
            )
    for constant in constants:
        lines.append(f'printf("{constant} %d\\n", (int){constant});')
    lines += ['printf("FNG_PLUGIN_MAGIC 0x%x\\n", (unsigned)FNG_PLUGIN_MAGIC);', "return 0;", "}"]
    with tempfile.TemporaryDirectory() as folder:
        source, program = pathlib.Path(folder, "layout.c"), pathlib.Path(folder, "layout")
        source.write_text("\n".join(lines) + "\n")
        subprocess.run([compiler, "-I", INCLUDE, "-o", program, source], check=True)
        return subprocess.run([program], check=True, capture_output=True, text=True).stdout


def main():
    now = listing()
    if sys.argv[1:] == ["--update"]:
        RECORD.write_text(now)
        return 0
    before = RECORD.read_text()
    if now == before:
        print(f"layout: {len(now.splitlines())} lines as recorded")
        return 0
    print("".join(difflib.unified_diff(before.splitlines(True), now.splitlines(True),
                                       "layout.txt", "headers")))
    print(__doc__)
    return 1


sys.exit(main())

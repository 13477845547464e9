#!/usr/bin/env python3
"""Write the manual pages and the completion for bash, from what --help prints and from the example settings.

Usage: make_documents.py MANDIR COMPLETION

MANDIR/man1 gets a page for each program, MANDIR/man5 one for the settings; COMPLETION is one file for all programs.
PYTHONPATH names lib/. The pages are dated by SOURCE_DATE_EPOCH, else by the last change of CHANGELOG.md.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
import time
from pathlib import Path

from scribe import __version__

ROOT = Path(__file__).resolve().parents[1]
NAMES = sorted(path.name.removeprefix("scribe-") for path in (ROOT / "bin").glob("scribe-*"))
FILES = ("FILE", "DIR")  # metavars of options whose value is a path


def parser_of(name: str) -> argparse.ArgumentParser:
    """Return the parser of scribe-NAME."""
    module = importlib.import_module(f"scribe.programs.{name + '_' if name == 'globals' else name}")
    parser: argparse.ArgumentParser = module.make_arguments()
    return parser


def option_groups(parser: argparse.ArgumentParser) -> list[tuple[str, list[argparse.Action]]]:
    """Return the groups of options as --help has them: title and options, those without any left out."""
    groups = [(group.title or "", group._group_actions) for group in parser._action_groups]
    return [(title, actions) for title, actions in groups if actions]


# --- manual pages -------------------------------------------------------------------------------------------------


def escape(text: str) -> str:
    """Return text for a line of a manual page, in which nothing is a request or an escape."""
    for old, new in (("\\", "\\e"), ("-", "\\-"), ("'", "\\(aq"), ("`", "\\(ga"), ("^", "\\(ha"), ("~", "\\(ti")):
        text = text.replace(old, new)
    return f"\\&{text}" if text.startswith(".") else text


def title(name: str, section: int) -> str:
    """Return the title line of a page."""
    when = int(os.environ.get("SOURCE_DATE_EPOCH", (ROOT / "CHANGELOG.md").stat().st_mtime))
    date = time.strftime("%Y-%m-%d", time.gmtime(when))
    return f'.TH {name.upper()} {section} {date} "pg_scribe {__version__}" "pg_scribe"\n'


def paragraphs(text: str) -> list[str]:
    """Return the paragraphs of a text, each as one line."""
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n") if paragraph.strip()]


def write_option(action: argparse.Action) -> str:
    """Return an option with its explanation."""
    value = ""
    if action.nargs != 0:
        word = f"\\fI{escape(action.metavar if isinstance(action.metavar, str) else '')}\\fR"
        word = "|".join(f"\\fB{escape(str(c))}\\fR" for c in action.choices) if action.choices else word
        value = f" [{word}]" if action.nargs == "?" else f" {word}"
    flags = ", ".join(f"\\fB{escape(flag)}\\fR" for flag in action.option_strings)
    return f".TP\n{flags}{value}\n{escape(' '.join((action.help or '').split()))}\n"


def write_statuses(text: str) -> str:
    """Return the section on exit statuses: "0 done; 1 failed; ..." as a list."""
    entries = re.findall(r"(?:^|; )(\d+) (.*?)(?=; \d+ |$)", text.rstrip("."))
    if len(entries) < 2:
        return f".SH EXIT STATUS\n{escape(text)}\n"
    return ".SH EXIT STATUS\n" + "".join(f".TP\n.B {number}\n{escape(said)}\n" for number, said in entries)


def manual_page(name: str) -> str:
    """Return the manual page of scribe-NAME."""
    parser = parser_of(name)
    program = f"scribe-{name}"
    purpose = (parser.description or "").rstrip(".")
    said = paragraphs(parser.epilog or "")
    status = next((text for text in said if text.startswith("Exit status: ")), "")
    page = title(program, 1)
    page += f".SH NAME\n{escape(program)} \\- {escape(purpose[0].lower() + purpose[1:])}\n"
    page += f".SH SYNOPSIS\n.B {escape(program)}\n[\\fIoption\\fR]...\n"
    body = [f"{purpose}.", *(text for text in said if text is not status)]
    page += ".SH DESCRIPTION\n" + ".PP\n".join(f"{escape(text)}\n" for text in body)
    page += ".SH OPTIONS\n"
    for group, actions in option_groups(parser):
        page += (f".SS {escape(group)}\n" if group != "options" else "") + "".join(map(write_option, actions))
    page += write_statuses(status.removeprefix("Exit status: "))
    page += ".SH ENVIRONMENT\n" + escape(
        "Settings (SCRIBE_ARCHIVE and others) come from options, then the environment, then the file that --config or "
        "SCRIBE_CONFIG names: see scribe.env(5). The connection is libpq's: PGHOST, PGSERVICE, ~/.pgpass and so on."
    )
    others = [f".BR {escape(f'scribe-{other}')} (1)" for other in NAMES if other != name]
    return page + "\n.SH SEE ALSO\n" + ",\n".join([*others, ".BR scribe.env (5)"]) + "\n"


def settings_page() -> str:
    """Return the manual page of the settings file, made of the example's comments."""
    head, *sections = re.split(r"(?m)^# --- (.*) ---\n", (ROOT / "etc/scribe.env.example").read_text())
    page = title("scribe.env", 5) + ".SH NAME\nscribe.env \\- settings of pg_scribe for one database\n.SH DESCRIPTION\n"
    page += ".PP\n".join(f"{escape(text)}\n" for text in paragraphs(re.sub(r"(?m)^# ?", "", head)))
    for name, body in zip(sections[::2], sections[1::2], strict=True):
        heading, _, rest = re.sub("[:;] ", "\n", name, count=1).partition("\n")
        page += f".SH {escape(heading.upper())}\n" + (f"{escape(rest[0].upper() + rest[1:])}.\n" if rest else "")
        for block in body.strip().split("\n\n"):
            keys = re.findall(r"(?m)^#?([A-Z][A-Z_]+=.*)$", block)
            said = " ".join(re.sub(r"(?m)^#?[A-Z][A-Z_]+=.*$|^# ?", "", block).split())
            page += ".TP\n" + "\n.TQ\n".join(f"\\fB{escape(key)}\\fR" for key in keys) + "\n" if keys else ".PP\n"
            page += f"{escape(said)}\n" if said else ""
    return page + ".SH SEE ALSO\n" + ",\n".join(f".BR {escape(f'scribe-{name}')} (1)" for name in NAMES) + "\n"


# --- completion ---------------------------------------------------------------------------------------------------


def completion() -> str:
    """Return the completion for bash: one function, and a table of options and of their values."""
    options, values, files, others = [], [], [], []
    for name in NAMES:
        actions = [action for _, group in option_groups(parser_of(name)) for action in group]
        flags = sorted({flag for action in actions for flag in action.option_strings})
        options.append(f'                scribe-{name}) words="{" ".join(flags)}" ;;')
        for action in (action for action in actions if action.nargs != 0):
            pattern = "|".join(f"scribe-{name}:{flag}" for flag in action.option_strings)
            words = " ".join(action.choices or filter(str.islower, str(action.metavar).split("|")))
            if words:
                values.append(f'        {pattern}) words="{words}" ;;')
            else:
                (files if action.metavar in FILES else others).append(pattern)
    return _FUNCTION.format(
        files="|".join(files),
        values="\n".join(values),
        others="|".join(others),
        options="\n".join(options),
        programs=" ".join(f"scribe-{name}" for name in NAMES),
    )


_FUNCTION = """\
# Completion of pg_scribe's programs for bash; written by tools/make_documents.py.
_scribe() {{
    local program=${{COMP_WORDS[0]##*/}} current=${{COMP_WORDS[COMP_CWORD]}} words=
    local previous=${{COMP_WORDS[COMP_CWORD - 1]}}
    # bash takes the = of --option=value for a word of its own
    [ "$current" != = ] || current=
    [ "$previous" != = ] || previous=${{COMP_WORDS[COMP_CWORD - 2]}}
    COMPREPLY=()
    case $program:$previous in
        {files})
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            return
            ;;
{values}
        {others})
            return
            ;;
        *)
            case $program in
{options}
            esac
            ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}}
complete -F _scribe {programs}
"""


def main() -> int:
    """Write everything."""
    if len(sys.argv) != 3 or sys.argv[1].startswith("-"):
        print("usage: make_documents.py MANDIR COMPLETION", file=sys.stderr)
        return 2
    mandir, file = map(Path, sys.argv[1:])
    pages = {f"man1/scribe-{name}.1": manual_page(name) for name in NAMES} | {"man5/scribe.env.5": settings_page()}
    for path, text in pages.items():
        (mandir / path).parent.mkdir(parents=True, exist_ok=True)
        (mandir / path).write_text(text)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(completion())
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What ``pondflight doctor`` finds, and how it tells it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to one question. ``advice`` says what to do, where something is to be done."""

    check: str
    verdict: Verdict
    message: str
    advice: str = ""


def ok(check: str, message: str) -> Finding:
    """All is well."""
    return Finding(check, Verdict.OK, message)


def warning(check: str, message: str, advice: str = "") -> Finding:
    """It will do, but somebody should know."""
    return Finding(check, Verdict.WARNING, message, advice)


def failure(check: str, message: str, advice: str = "") -> Finding:
    """It will not work."""
    return Finding(check, Verdict.FAILURE, message, advice)


def skipped(check: str, message: str) -> Finding:
    """Not looked at, and why."""
    return Finding(check, Verdict.SKIPPED, message)


def as_text(finding: Finding) -> str:
    """One finding, for a person."""
    text = f"{finding.verdict:<8} {finding.check}: {finding.message}"
    return f"{text}\n         -> {finding.advice}" if finding.advice else text


def as_json(findings: Iterable[Finding]) -> str:
    """All findings, for a program."""
    rows = [asdict(finding) for finding in findings]
    return json.dumps({"ok": all_well(findings), "checks": rows}, indent=2)


def all_well(findings: Iterable[Finding]) -> bool:
    """Whether nothing failed."""
    return all(finding.verdict is not Verdict.FAILURE for finding in findings)
